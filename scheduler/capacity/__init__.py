"""Capacity: how many slots each GPU has, read from its memory and applied to its node."""
