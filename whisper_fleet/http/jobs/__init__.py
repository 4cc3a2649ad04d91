"""The jobs API: what a client may ask for, what a job looks like, and what is done with one after it was submitted."""
