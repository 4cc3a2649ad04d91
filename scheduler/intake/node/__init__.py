"""What an intake node does beside its tasks: it notes scheduled jobs, watches for revocation, and shuts down."""
