"""Starts the fleet's processes and keeps them running."""
