"""Whisper's encoder and decoder over a cache of many rows."""
