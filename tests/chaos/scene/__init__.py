"""What faults happen to: two hosts, a Redis, file systems of limited size, and what they transcribe."""
