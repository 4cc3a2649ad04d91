"""Faults under load: `make chaos` runs every row of the table, `python -m tests.chaos --list` names them.

Called by hand and, with five quick rows, by `tests/integration/test_chaos.py`. A row is a fault, written in terms of a
scene: two hosts, each started by `whisper-fleet up` as a user starts it, one Redis, and a load of jobs of a plain
Celery client. The judge compares every transcript with that of an undisturbed run. The suite knows the fleet's
commands, its processes by their command lines, and the Redis keys that must be empty in the end. A row that the machine
cannot run (no network namespaces, no mounts, no history) is skipped, and the table says why.
"""
