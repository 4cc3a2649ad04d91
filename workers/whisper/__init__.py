"""What `whisper.transcribe()` calls instead of a model and its own functions, so that the engine does the work.

Its transcript is examined for invented text.
"""
