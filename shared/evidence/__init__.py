"""Evidence that a segment's text was invented: Whisper writes something even where nothing is said."""
