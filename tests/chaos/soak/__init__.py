"""Half an hour at full load with a fault per minute: does anything grow? `python -m tests.chaos.soak --minutes 30`."""
