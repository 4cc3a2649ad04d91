"""The GPU node: heartbeat, engine process, and the attempts to transcribe segments."""
