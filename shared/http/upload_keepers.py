"""What keeps an upload: a lease while it is received or stored, or a job until its end. Owner of `fleet:upload:*`.

A process that dies leaves a lease that expires, or a job that ends. Either way the janitor of the upload's host then
deletes the file, so nothing has to be cleaned up in order.
"""

from __future__ import annotations

from typing import cast

from redis import Redis

from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.wire import JobState

#: Seconds for which an upload that is being received is kept without a sign of life: longer than the server waits for
#: the next byte and than it takes to hand a complete one to its job.
RECEIVING_LEASE = 120.0
#: Seconds after which the server renews that lease while the body flows.
RENEWAL_SECONDS = 30.0


def is_kept(redis: Redis, upload: str) -> bool:
    """Return whether an upload must not be deleted: its lease holds, or its job has not ended."""
    keeper = cast("bytes | None", redis.get(keys.upload(upload)))
    if keeper is None:
        return False
    job = text(keeper)
    if not job:
        return True
    state = cast("bytes | None", redis.hget(keys.job(job), "state"))
    return state is not None and not JobState(text(state)).is_final
