"""The ledger: every job and segment, kept in Redis and changed only by Lua scripts."""
