"""A load of jobs by a plain Celery client, and what became of them."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import redis as redis_py

from tests.chaos.judge import Outcome
from tests.chaos.scene.scene import Scene
from tests.chaos.scene.sound import LONGEST_SEGMENT
from whisper_fleet import FleetClient
from whisper_fleet.errors import JobNotFound
from whisper_fleet.shared import names

#: What a client's callback is sent to; nobody consumes it, so its messages can be counted.
_DELIVERED = "chaos.delivered"
#: What a transcript must have in common with that of an undisturbed run.
_COMPARED = ("text", "segments", "language")
#: Tokens per window. An engine that is reproducible computes every step for 512 rows, which takes a CPU long.
_TOKENS = 16


class Load:
    """Jobs that are submitted together; each writes a file and calls back once."""

    def __init__(self, scene: Scene, jobs: int) -> None:
        self._scene = scene
        self._name = uuid.uuid4().hex[:8]
        #: id -> the number of its file of noise.
        self.jobs = {f"chaos-{self._name}-{number:03}": number % len(scene.files) for number in range(jobs)}
        self._unsent = list(self.jobs)
        self._outcomes: dict[str, Outcome] = {}

    def submit(self, share: float = 1.0) -> None:
        """Send this share of the jobs that were not sent yet, as another service does."""
        for _ in range(round(len(self._unsent) * share)):
            self._send(self._unsent[0], self.jobs[self._unsent[0]])
            del self._unsent[0]  # only now: a job that could not be sent is sent by the next call

    def _send(self, job: str, number: int) -> None:
        app = self._scene.client
        request = {
            "file_path": str(self._scene.files[number]),
            "model_name": str(self._scene.model),
            "language": "en",
            "temperature": 0.0,
            "sample_len": _TOKENS,
            "segment_duration": LONGEST_SEGMENT,
            "output_path": str(self._scene.outputs.path / job),
            "formats": ["txt"],
            "evidence": False,
        }
        link: Any = app.signature(_DELIVERED, args=(job,), immutable=True, queue=self._queue)
        app.send_task(names.TRANSCRIBE, kwargs=request, task_id=job, queue=names.TRANSCRIBE_QUEUE, link=link)

    def ended(self) -> int:
        """Read the answers that came since the last look, and return how many jobs have one."""
        waiting = [job for job in self.jobs if job not in self._outcomes]
        if waiting:
            try:
                stored = cast(
                    "list[str | None]", self._scene.redis.mget([f"celery-task-meta-{job}" for job in waiting])
                )
            except redis_py.RedisError:
                return len(self._outcomes)
            for job, answer in zip(waiting, stored, strict=True):
                if answer is not None and (outcome := self._outcome(job, json.loads(answer))) is not None:
                    self._outcomes[job] = outcome
        return len(self._outcomes)

    def wait(self, seconds: float) -> bool:
        """Wait until every job has its answer; return whether that came in time."""
        deadline = time.monotonic() + seconds
        while self.ended() < len(self.jobs):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def wait_until_quiet(self, seconds: float) -> None:
        """Wait until no job has had an answer for this long; then ask as a FleetClient does for the others."""
        last, at = self.ended(), time.monotonic()
        while last < len(self.jobs) and time.monotonic() - at < seconds:
            time.sleep(0.2)
            if (ended := self.ended()) != last:
                last, at = ended, time.monotonic()
        with FleetClient(redis_url=self._scene.store.url) as fleet:
            for job in self.jobs.keys() - self._outcomes.keys():
                try:
                    fleet.status(job)
                except JobNotFound as error:
                    self._outcomes[job] = Outcome(file=self.jobs[job], state="FAILURE", error=f"JobNotFound: {error}")

    def outcomes(self) -> dict[str, Outcome]:
        """Return the outcome of each job that has one, with the number of times that it was delivered."""
        queued = cast("list[str]", self._scene.redis.lrange(self._queue, 0, -1))
        delivered = Counter(_first_argument(message) for message in queued)
        return {job: outcome.with_deliveries(delivered[job]) for job, outcome in self._outcomes.items()}

    def forget(self) -> None:
        """Remove the callbacks and files of this load."""
        bindings = [f"_kombu.binding{kind}.{self._queue}" for kind in ("", "_permanent")]
        self._scene.redis.delete(self._queue, *bindings)
        for job in self.jobs:
            for path in (self._scene.outputs.path / job).glob("*"):
                path.unlink()

    @property
    def _queue(self) -> str:
        return f"{_DELIVERED}.{self._name}"

    def _outcome(self, job: str, answer: Mapping[str, Any]) -> Outcome | None:
        state, result = str(answer["status"]), answer["result"]
        if state not in ("SUCCESS", "FAILURE", "REVOKED"):
            return None
        if state != "SUCCESS":
            return Outcome(file=self.jobs[job], state=state, error=str(result))
        transcript = json.dumps({name: result[name] for name in _COMPARED}, sort_keys=True)
        return Outcome(
            file=self.jobs[job],
            state=state,
            transcript=transcript,
            written=self._written(job, result),
            segments=len(result["segments"]),
        )

    def _written(self, job: str, result: Mapping[str, Any]) -> str | None:
        """Return the text that was written; None if the job reports that it could not write it."""
        if result.get("output_errors"):
            return None
        files = sorted((self._scene.outputs.path / job).glob("*.txt"))
        return "\n".join(path.read_text() for path in files)


def _first_argument(message: str) -> object:
    """Return the first argument of a task in Celery's message."""
    return json.loads(base64.b64decode(json.loads(message)["body"]))[0][0]
