"""Kernels of Hopper's warpgroup matrix products and copy engine, for the encoder and for prompts."""
