"""The commands that run, check and configure a machine of the fleet."""
