"""The last step of every job, after its client's answer is stored."""

from __future__ import annotations

import logging

from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared import tracing
from whisper_fleet.shared.audio.sources.prefixes import is_below
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.display.log_fields import about_job
from whisper_fleet.shared.errors import JobNotFound
from whisper_fleet.shared.ledger.records import JobRecord, shown
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.webhooks.deliveries import job_webhook

_log = logging.getLogger(__name__)


def settle(fleet: Services, job: str) -> None:
    """Delete the job's spooled audio, and settle it in the ledger, together with the webhook of its callback URL."""
    Spool(fleet.settings).drop(job)
    try:
        record = fleet.ledger.job(job)
    except JobNotFound:  # a request that was refused at once
        return
    now = fleet.ledger.now()
    webhook = job_webhook(record, now) if _has_webhook(record, fleet.settings) else ()
    with tracing.span("answer", record.trace, job=job, state=record.state):
        state = fleet.ledger.settle(job, now, webhook)
    if state is not None:
        _log.info("job %s is %s", shown(record), state, extra=about_job(job, record.request))


def _has_webhook(record: JobRecord, settings: Settings) -> bool:
    """Return whether a webhook reports the end of the job; one that failed because of its URL gets none."""
    url = record.request.callback_url
    return url is not None and is_below(url, settings.callback_prefixes)
