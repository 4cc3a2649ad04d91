"""The slot pool: it runs Celery tasks in threads, whose number can change while tasks run."""
