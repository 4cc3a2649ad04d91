"""Enters jobs with a countdown or an eta in the ledger when their messages are received, not when they run.

From then on `status` shows when a job is due, `cancel` works, and recovery finds it if its message is lost.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from redis.exceptions import RedisError

from whisper_fleet.scheduler.intake.planning import Planner
from whisper_fleet.scheduler.intake.receipt import Receipt
from whisper_fleet.scheduler.services import services
from whisper_fleet.shared import names
from whisper_fleet.shared.errors import FleetError

_log = logging.getLogger(__name__)

#: The node's main loop must not wait for Redis.
_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scheduled")


def on_task_received(request: Any = None, **_: Any) -> None:
    """Enter the job of a `transcribe` that does not run yet."""
    if request is not None and request.type == names.TRANSCRIBE and request.eta:
        _thread.submit(_enter, str(request.id), request.request_dict["kwargs"], request._context)


def _enter(job: str, keywords: dict[str, Any], context: Any) -> None:
    fleet = services()
    try:
        Planner(fleet).enter(job, keywords, Receipt.of(context))
        fleet.show_record(job)
    except FleetError as error:  # it is the client's to know when the job runs, as for every other job
        _log.info("job %s is scheduled, and will fail: %s", job, error)
    except (RedisError, OSError) as error:
        _log.warning("job %s is scheduled, but not in the ledger yet: %s", job, error)
