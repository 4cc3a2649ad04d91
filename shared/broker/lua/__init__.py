"""Lua scripts of the broker: each moves messages between lists and hashes in one step."""
