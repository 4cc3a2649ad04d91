"""Stored files: what clients uploaded for later jobs and batches, and the results of batches."""
