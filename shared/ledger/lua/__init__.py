"""The ledger's transitions, one Lua script a file."""
