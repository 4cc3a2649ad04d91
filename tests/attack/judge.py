"""Judges how a fleet bore an attack: how every job ended, what the logs say, which processes died."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from redis import Redis

from tests.support.fleet_processes import FleetProcesses
from whisper_fleet.shared import errors
from whisper_fleet.shared.ledger.registry import GpuRegistry

#: What a client may get for a request that cannot be carried out: errors that say what is wrong with it.
TYPED = frozenset(
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, (errors.RequestError, errors.JobError, errors.EngineRequestInvalid))
) | {"ModelUnavailable"}
#: What Celery logs with a traceback of a broadcast command that it does not know or cannot read.
_REMOTE_CONTROL = ("pidbox command error", "Control command error", "Can't decode message body", "Cannot process event")
_FINAL = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
_PAGE = 500
#: Seconds without any further answer after which the rest counts as unanswered.
PATIENCE = 90.0


@dataclass
class Verdict:
    """How the jobs of one attack ended."""

    name: str
    cases: int = 0
    succeeded: int = 0
    failed: Counter[str] = field(default_factory=Counter)  # by the type of the error
    revoked: int = 0
    unanswered: list[str] = field(default_factory=list)  # ids
    untyped: dict[str, str] = field(default_factory=dict)  # id -> error
    seconds: float = 0.0

    def check(self) -> None:
        """Fail if a job has no answer, or an error that does not say what is wrong with the request."""
        assert not self.unanswered, f"no answer: {self.unanswered[:5]} and others, {len(self.unanswered)} in all"
        assert not self.untyped, dict(list(self.untyped.items())[:5])


def await_answers(redis: Redis, verdict: Verdict, jobs: Collection[str], patience: float = PATIENCE) -> None:
    """Wait until every job has ended, or none has for `patience` seconds, and enter how they ended."""
    open_jobs, latest = set(jobs), time.monotonic()
    while open_jobs and time.monotonic() - latest < patience:
        ended = list(_ended(redis, open_jobs))
        for job, meta in ended:
            _enter(verdict, job, meta)
            open_jobs.discard(job)
        if ended:
            latest = time.monotonic()
        else:
            time.sleep(0.5)
    verdict.cases += len(jobs)
    verdict.unanswered += sorted(open_jobs)


def _ended(redis: Redis, jobs: Iterable[str]) -> Iterable[tuple[str, dict[str, Any]]]:
    names = sorted(jobs)
    for first in range(0, len(names), _PAGE):
        page = names[first : first + _PAGE]
        stored = cast("list[bytes | None]", redis.mget([f"celery-task-meta-{job}" for job in page]))
        for job, text in zip(page, stored, strict=True):
            meta = json.loads(text) if text else {}
            if meta.get("status") in _FINAL:
                yield job, meta


def _enter(verdict: Verdict, job: str, meta: dict[str, Any]) -> None:
    if meta["status"] == "SUCCESS":
        verdict.succeeded += 1
    elif meta["status"] == "REVOKED":
        verdict.revoked += 1
    else:
        error = meta["result"]
        verdict.failed[error["exc_type"]] += 1
        if error["exc_type"] not in TYPED:
            verdict.untyped[job] = f"{error['exc_type']}: {str(error['exc_message'])[:200]}"


def dead_processes(fleet: FleetProcesses, engine: int) -> list[str]:
    """Return which processes died: of the fleet, the engine, and intake's children."""
    died = [name for name, process in fleet.processes.items() if process.poll() is not None]
    if engine_of(fleet) != engine:
        died.append("engine")
    for name in fleet.processes:
        log = fleet.log(name).read_text(errors="replace")
        died += [f"child of {name}"] * log.count("exited with 'signal")
    return died


def engine_of(fleet: FleetProcesses) -> int:
    """Return the process id of the engine, by the log of its node."""
    return next(iter(GpuRegistry(fleet.redis).all())).engine_pid or 0


def tracebacks(fleet: FleetProcesses) -> list[str]:
    """Return the last line of each traceback in the fleet's logs: an error that no code expected."""
    found = []
    for name in fleet.processes:
        lines = fleet.log(name).read_text(errors="replace").splitlines()
        begins = [
            number
            for number, line in enumerate(lines)
            if line.startswith("Traceback") and not any(words in lines[number - 1] for words in _REMOTE_CONTROL)
        ]
        for begin in begins:
            end = next((line for line in lines[begin + 1 :] if not line.startswith((" ", "Traceback"))), "")
            found.append(f"{name}: {end[:200]}")
    return found
