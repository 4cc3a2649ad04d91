"""The sender of webhooks: a courier in every intake node claims deliveries from the ledger and makes the calls."""
