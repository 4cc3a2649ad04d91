"""What the commands show on a terminal: results on standard output, progress and errors on standard error."""
