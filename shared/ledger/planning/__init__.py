"""The steps of the ledger that intake takes while it decodes a file."""
