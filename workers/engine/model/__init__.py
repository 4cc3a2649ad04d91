"""Whisper checkpoints and their weights on the device."""
