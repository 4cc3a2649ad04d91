"""The client for programs that reach a fleet through its HTTP server alone: FleetClient without Redis."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

from whisper_fleet.errors import FleetError, JobNotFinished, JobNotFound
from whisper_fleet.http_client.exchange import PATIENCE_SECONDS, Exchange, Response
from whisper_fleet.http_client.uploading import upload_file
from whisper_fleet.http_client.views import failure_of, progress_of, record_of
from whisper_fleet.outcome import JobResult, Outcome
from whisper_fleet.shared.audio.sources import is_url
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.settings import load_settings
from whisper_fleet.shared.settings.http import USUAL_HTTP
from whisper_fleet.shared.wire import GpuStatus, JobProgress, JobState

#: Seconds between two looks at a job that has not ended; looks in between return what the last one found.
POLL_INTERVAL = 1.0
_PAGE = 100
#: Seconds for which a command that begins waits for a server that does not answer.
_PING_SECONDS = 2.0


class HttpFleetClient:
    """Submit audio to a fleet over HTTP, follow the jobs and read their transcripts.

        with HttpFleetClient("https://fleet.example.org", key="wf_...") as fleet:
            job = fleet.submit(file_path="talk.mp3", language="en")
            print(fleet.result(job).text)

    The methods, values and errors are those of FleetClient. A file of this machine is uploaded; an upload goes on after
    a lost connection. While the server does not answer, every method tries again for half a minute and then raises
    ServerUnreachable. While it asks to come back later, they wait for five minutes at most. One client may be used by
    many threads at once.
    """

    def __init__(self, server: str | None = None, *, key: str | None = None) -> None:
        """Make a client of the server at a URL; raises BadSetting for what is not one. Nothing connects yet.

        Without them, server and key are those of WHISPER_FLEET_SERVER and WHISPER_FLEET_KEY.
        """
        settings = load_settings()
        server = server or settings.server or f"http://127.0.0.1:{USUAL_HTTP}"
        if key is None and settings.key is not None:
            key = settings.key.get_secret_value()
        self._exchange = Exchange(server, key)
        self._views: dict[str, tuple[float, dict[str, Any]]] = {}  # job -> when it was seen, and what; not yet ended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ping(self) -> None:
        """Raise ServerUnreachable unless the server and its fleet answer within seconds."""
        self._exchange.request("GET", "/health", patience=_PING_SECONDS)

    def submit(self, *, job: str | None = None, **request: Any) -> str:
        """Submit a job and return its id, which the server chooses.

        `file_path` is a file of this machine, which is uploaded, or else a URL, or a path of the fleet's machines. The
        other keywords are those of FleetClient.submit. `job` is a name of the caller's choice: the same request under
        the same name is the same job for a day.
        """
        given = {name: value for name, value in request.items() if value is not None}
        place = str(given.pop("file_path", ""))
        if not is_url(place) and Path(place).exists():
            given |= {"file_id": upload_file(self._exchange, Path(place)), "keep_file": False}
        elif place:
            given["file_path"] = place
        headers = {"idempotency-key": job or str(uuid.uuid4())}
        return str(self._exchange.request("POST", "/v1/jobs", body=given, headers=headers).json()["id"])

    def status(self, job: str) -> JobProgress:
        """Return how far a job is, as of the last second; raises JobNotFound."""
        return progress_of(self._recent(job))

    def record(self, job: str) -> JobRecord:
        """Return what the server knows of a job; raises JobNotFound."""
        return record_of(self._view(job))

    def outcome(self, job: str) -> Outcome | None:
        """Return how a job ended, or None while it has not, as of the last second; raises JobNotFound."""
        view = self._recent(job)
        if not JobState(view["state"]).is_final:
            return None
        if view["state"] != JobState.DONE:
            return failure_of(view)
        response = self._about(job, "GET", "/transcript", accepted=(409,))
        if response.status != 409:
            return Outcome(data=response.json())
        return None if response.error.get("code") == "conflict" else failure_of(view)

    def result(self, job: str, timeout: float | None = None) -> JobResult:
        """Return the transcript, after waiting for it for `timeout` seconds at most (None: without limit).

        Raises JobNotFinished after that time, the error of a failed job, JobCancelled, and JobNotFound.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (outcome := self.outcome(job)) is None:
            left = POLL_INTERVAL if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise JobNotFinished(job=job, state=self._view(job)["state"])
            time.sleep(min(left, POLL_INTERVAL))
        return outcome.result

    def watch(self, job: str, interval: float = POLL_INTERVAL) -> Iterator[JobProgress]:
        """Yield the progress of a job whenever it changes, until the result can be read."""
        shown: JobProgress | None = None
        while self.outcome(job) is None:
            progress = self.status(job)
            if progress != shown:
                shown = progress
                yield progress
            time.sleep(interval)
        yield progress_of(self._view(job))

    def cancel(self, job: str) -> bool:
        """Cancel a job that waits or runs; returns False if it had ended before. Raises JobNotFound."""
        had_ended = JobState(self._view(job)["state"]).is_final
        view = self._about(job, "POST", "/cancel").json()
        return not had_ended and view["state"] == JobState.CANCELLED

    def retry(self, job: str) -> str:
        """Submit the request of a job that has ended again, and return the new job's id.

        Raises JobNotFound, JobNotFinished, and FleetError if its audio was uploaded for that job alone.
        """
        response = self._about(job, "POST", "/retry", accepted=(409,), patience=0)  # twice would be two jobs
        if response.status != 409:
            return str(response.json()["id"])
        if response.error.get("code") == "audio_deleted":
            raise FleetError(f"The audio of job {job} is deleted: submit its file again.")
        raise JobNotFinished(job=job, state=self._view(job)["state"])

    def delete(self, job: str) -> None:
        """Delete the record and the transcript of a job that has ended; raises JobNotFound or JobNotFinished."""
        view = self._view(job)
        if not JobState(view["state"]).is_final:
            raise JobNotFinished(job=job, state=view["state"])
        self._about(job, "DELETE", "")

    def jobs(
        self, *, states: Collection[JobState] = (), labels: Mapping[str, str] | None = None, since: float | None = None
    ) -> Iterator[JobRecord]:
        """Yield the records of the jobs that the key may see, newest first; the filters are those of FleetClient."""
        query: list[tuple[str, str]] = [("limit", str(_PAGE)), *(("state", state.value) for state in states)]
        query += [("label", f"{name}:{value}") for name, value in (labels or {}).items()]
        query += [] if since is None else [("after", repr(since))]
        cursor: list[tuple[str, str]] = []
        while True:
            page = self._exchange.request("GET", f"/v1/jobs?{urlencode([*query, *cursor])}").json()
            yield from map(record_of, page["data"])
            if not page["has_more"]:
                return
            cursor = [("cursor", page["next_cursor"])]

    def running(self) -> list[JobRecord]:
        """Return the records of the jobs that have begun and not ended, newest first."""
        return [record for record in self.jobs(states=(JobState.RUNNING,)) if record.started is not None]

    def gpus(self) -> list[GpuStatus]:
        """Raise FleetError: the server shows no GPUs to clients of the jobs API."""
        raise FleetError("The HTTP server does not list GPUs: ask Redis, with WHISPER_FLEET_REDIS_URL.")

    def close(self) -> None:
        """Forget what was seen; no connection is open between two calls, and jobs go on."""
        self._views.clear()

    def _recent(self, job: str) -> dict[str, Any]:
        """Return a job as it was at most a second ago: several methods ask about it at once."""
        seen, view = self._views.get(job, (float("-inf"), {}))
        return view if time.monotonic() - seen < POLL_INTERVAL else self._view(job)

    def _view(self, job: str) -> dict[str, Any]:
        view: dict[str, Any] = self._about(job, "GET", "").json()
        self._views[job] = (time.monotonic(), view)
        if JobState(view["state"]).is_final:
            del self._views[job]
        return view

    def _about(
        self, job: str, method: str, what: str, *, accepted: tuple[int, ...] = (), patience: float = PATIENCE_SECONDS
    ) -> Response:
        """Return the response to a request about a job; raises JobNotFound."""
        path = f"/v1/jobs/{quote(job, safe='')}{what}"
        response = self._exchange.request(method, path, accepted=(404, *accepted), patience=patience)
        if response.status == 404:
            raise JobNotFound(str(response.error.get("message") or f"No job {job}: check the id."))
        return response
