"""Webhooks: signed events that the fleet sends to its clients' services, kept in the ledger until they are delivered.

Intake and the batch worker add events, the couriers of intake nodes deliver them, and the command line and the metrics
read them. Everything is in Redis: a process that dies loses none, and the lease of what it was sending runs out.
"""
