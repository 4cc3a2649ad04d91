"""What the HTTP server shares with the rest of the fleet: its settings, and the uploads that intake reads."""
