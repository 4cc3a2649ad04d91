"""Audio sources, ffmpeg decoding, and the pieces of a file that the fleet transcribes."""
