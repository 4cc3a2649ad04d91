"""The last step of every job, after its client's answer is stored."""

from __future__ import annotations

import logging
import time

from whisper_fleet.scheduler.intake.callbacks import call_back
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.display.text import file_name
from whisper_fleet.shared.errors import JobNotFound

_log = logging.getLogger(__name__)


def settle(fleet: Services, job: str) -> None:
    """Delete the job's spooled audio, settle it in the ledger, and call its callback URL, if it has one."""
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
        call_back(record.request.callback_url, job, state, fleet.settings)
