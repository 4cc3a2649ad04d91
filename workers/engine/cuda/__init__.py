"""Kernels, CUDA graphs and the fused device path."""
