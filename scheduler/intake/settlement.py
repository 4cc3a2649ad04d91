"""The last step of every job, after its client's answer is stored."""

from __future__ import annotations

import logging
import time

from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.display.text import file_name
from whisper_fleet.shared.errors import JobNotFound
from whisper_fleet.shared.ledger import keys

_log = logging.getLogger(__name__)


def settle(fleet: Services, job: str) -> None:
    """Delete the job's spooled audio, settle it in the ledger, and note that its callback URL, if any, is due.

    The call itself may take seconds, which would keep this process of intake from other jobs.
    """
    Spool(fleet.settings).drop(job)
    try:
        record = fleet.ledger.job(job)
    except JobNotFound:  # a request that was refused at once
        return
    state = fleet.ledger.settle(job, time.time())
    if state is None:
        return
    _log.info("job %s (%s) is %s", job, file_name(record.request.file_path), state)
    if record.request.callback_url:
        fleet.redis.zadd(keys.CALLBACKS, {job: time.time()})
