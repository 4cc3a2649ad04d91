"""What every process of a fleet has in common beside its work: its name, its reload, its health."""
