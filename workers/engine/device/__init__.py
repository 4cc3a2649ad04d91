"""What a device holds of a model, and the interface of the paths on which it computes it."""
