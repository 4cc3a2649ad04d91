"""Submits jobs whose ids were chosen before: submitting one twice is submitting it once."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from whisper_fleet.errors import JobExists
from whisper_fleet.http.services import HttpServices


async def submit_job(services: HttpServices, job: str, keywords: dict[str, Any]) -> bool:
    """Submit a job; return False if it was submitted before, perhaps with another copy of its file."""
    with suppress(JobExists):
        await services.fleet.submit(job=job, **keywords)
        return True
    return False
