"""Batch scheduling: which windows are encoded, prompted or decoded next. Does not import torch."""
