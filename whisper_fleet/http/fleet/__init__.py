"""The fleet as the API shows it."""
