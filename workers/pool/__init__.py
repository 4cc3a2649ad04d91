"""The slot pool: Celery tasks in threads whose number can change while they work."""
