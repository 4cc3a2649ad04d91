"""Who calls, what a caller may do, and how much of it."""
