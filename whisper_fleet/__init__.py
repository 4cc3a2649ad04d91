"""Public interface of Whisper Fleet: submit audio to the fleet and read its transcripts."""
