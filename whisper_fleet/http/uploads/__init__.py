"""Uploads: streamed to disk in bounded memory, kept by a lease or a job, and deleted by the janitor at the latest."""
