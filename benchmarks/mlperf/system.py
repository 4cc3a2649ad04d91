"""The fleet as MLPerf's load generator sees a system: queries become jobs, and finished jobs become responses."""

from __future__ import annotations

import array
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from redis.exceptions import RedisError

from benchmarks.gpu.fleet.live import LiveFleet, until
from whisper_fleet.shared import names
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.wire import JobState

_LOOK_SECONDS = 0.02
_PATIENCE = 300.0


class System:
    """Submits a job per sample, and reports each as it ends; a failed job is reported with an empty text."""

    def __init__(self, loadgen: Any, fleet: LiveFleet, model: Path, files: Sequence[Path]) -> None:
        self._loadgen, self._fleet, self._files = loadgen, fleet, files
        self._asked = {"model_name": str(model), "language": "en"}
        self._open: dict[str, int] = {}  # job -> id of the query's sample
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.done = 0
        self.failed = 0

    def warm_up(self) -> None:
        """Have the fleet load the model and get its slots."""
        jobs = [self._submit(file) for file in self._files[:2]]
        until("the model to be loaded", lambda: all(self._states(jobs)), _PATIENCE)

    def issue(self, samples: Sequence[Any]) -> None:
        """Submit the samples of a query; the load generator calls this."""
        for sample in samples:
            job = self._submit(self._files[sample.index])
            with self._lock:
                self._open[job] = sample.id

    @contextmanager
    def completing(self) -> Iterator[None]:
        """Report finished jobs meanwhile."""
        thread = threading.Thread(target=self._complete_repeatedly)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _submit(self, file: Path) -> str:
        given = {"file_path": str(file.absolute()), **self._asked}
        return str(self._fleet.app.send_task(names.TRANSCRIBE, kwargs=given, queue=names.TRANSCRIBE_QUEUE).id)

    def _complete_repeatedly(self) -> None:
        try:
            self._complete_until_stopped()
        except RedisError as error:  # the load generator would wait for responses for ever, in threads of its own
            sys.stderr.write(f"the fleet ended before its jobs did: {error}\n")
            os._exit(1)

    def _complete_until_stopped(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            with self._lock:
                jobs = list(self._open)
            for job, state in zip(jobs, self._states(jobs), strict=True):
                if state is not None:
                    self._report(job, state)

    def _states(self, jobs: Sequence[str]) -> list[JobState | None]:
        """Return the final state of each job, None if it has not ended."""
        pipeline = self._fleet.redis.pipeline(transaction=False)
        for job in jobs:
            pipeline.hget(keys.job(job), "state")
        found = cast("list[bytes | None]", pipeline.execute())
        states = [None if state is None else JobState(text(state)) for state in found]
        return [state if state is not None and state.is_final else None for state in states]

    def _report(self, job: str, state: JobState) -> None:
        with self._lock:
            sample = self._open.pop(job)
        is_done = state is JobState.DONE
        self.done += is_done
        self.failed += not is_done
        said = "".join(result.text for result in self._fleet.ledger.results(job)) if is_done else ""
        response = array.array("B", said.encode())
        address, items = response.buffer_info()
        self._loadgen.QuerySamplesComplete([self._loadgen.QuerySampleResponse(sample, address, items)])
