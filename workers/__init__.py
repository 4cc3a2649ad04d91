"""Does the work: one Celery node per GPU, its slots, and the engine they share."""
