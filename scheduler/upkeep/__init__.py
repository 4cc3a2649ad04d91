"""Upkeep: recovers segments of dead nodes and deletes what is no longer needed."""
