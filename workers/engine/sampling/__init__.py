"""Whisper's decoding rules and the per-row state that they read."""
