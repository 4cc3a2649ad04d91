"""Monitoring: fleet metrics for Prometheus and the Celery app that Flower serves."""
