"""The process that owns a GPU: models, KV cache and the batch loop. Knows nothing of Celery or Redis."""
