"""Device memory for self-attention keys and values and for encoded audio."""
