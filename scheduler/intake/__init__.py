"""Intake: checks requests, plans segments, assembles and writes transcripts."""
