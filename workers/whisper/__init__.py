"""Stand-ins for the model and the audio functions that whisper.transcribe() calls."""
