"""Decides: how many slots a GPU has, which segment goes where, what to do when something died."""
