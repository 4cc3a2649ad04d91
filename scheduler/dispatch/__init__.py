"""Dispatch: which waiting segment runs next, and on which GPU."""
