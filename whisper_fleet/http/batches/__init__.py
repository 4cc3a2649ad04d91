"""Batches: a file of requests that run at low priority, one job per line, and whose results are two files.

Everything about a batch is in Redis. Any server advances it by small steps, each of which may be repeated.
"""
