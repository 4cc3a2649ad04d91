"""Decodes jobs' files and lets each segment wait for a GPU as soon as it is cut."""
