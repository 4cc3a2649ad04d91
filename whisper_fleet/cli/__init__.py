"""The command line: `whisper-fleet COMMAND`."""
