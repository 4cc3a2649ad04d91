"""The Redis broker as the fleet uses it: nothing is taken from a queue in a way that a crash or a refusal can lose.

Called by Celery in every node and scheduler process of the fleet (`celeryconfig.broker_transport`); clients keep
kombu's own transport, which writes the same messages. It knows Redis and Celery's message format, and nothing of jobs.
A message that cannot be read is set aside as a dead letter, and the consumer continues.
"""
