"""Start, supervise and stop the fleet's processes on one machine."""
