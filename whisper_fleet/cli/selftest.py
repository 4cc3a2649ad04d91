"""`selftest`: one clip through every step of the fleet, with the time of each, and advice when one fails.

Uses what every client uses, so it needs no rights of its own. It reads the ledger's record until the job has ended,
and concludes from the record's times which steps were made.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from whisper_fleet.cli.connection import Jobs, connect
from whisper_fleet.cli.exit_codes import ExitCode
from whisper_fleet.cli.terminal.json_lines import json_option, print_line
from whisper_fleet.cli.terminal.printing import progress_console, results_console
from whisper_fleet.outcome import Outcome
from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.wire import GpuStatus, JobState

_SAMPLE = Path(__file__).parents[1] / "samples" / "sense_and_sensibility-0880.wav"
_POLL_SECONDS = 0.1

_ADVICE = {
    "GPUs": "no GPU node is up: start one with `whisper-fleet up`, and see `whisper-fleet doctor` on its machine",
    "planned": "no intake took the job: see the log of intake on its machine, and whether it mounts the clip there",
    "started": "no GPU took it: `whisper-fleet slots` on the GPU's machine shows how many slots it has, and why",
    "transcribed": "the GPU did not finish: see the log of its node; the first job after a start loads the model",
    "delivered": "the transcript was not delivered: see the log of intake, which assembles it",
    "text": "the job ended without words that were spoken: is the model's checkpoint complete?",
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the test: how long it took, or that it did not happen."""

    name: str
    seconds: float | None  # None: it did not happen
    detail: str = ""

    @property
    def advice(self) -> str | None:
        """What to do about a step that did not happen."""
        return _ADVICE[self.name] if self.seconds is None else None


@click.command()
@click.option("--model", help="Model to test; the fleet's default if left out.")
@click.option("--file", "file", metavar="PATH", help="Another clip, as the fleet's machines see it.")
@click.option("--timeout", default=180.0, show_default=True, type=click.FloatRange(1), help="Seconds for all steps.")
@json_option
def selftest(model: str | None, file: str | None, timeout: float, as_json: bool) -> None:
    """Send one clip through every step of the fleet, and show how long each took."""
    began = time.monotonic()
    with connect() as fleet:
        connected = time.monotonic() - began
        steps = [Step(name="Redis", seconds=connected), _gpus(fleet.jobs.gpus(), time.monotonic())]
        if steps[-1].seconds is not None:
            request: dict[str, Any] = {"model_name": model, "priority": 0, "tenant": "selftest"}
            with progress_console().status("Transcribing one clip"):
                steps += _through_the_fleet(fleet.jobs, file or str(_SAMPLE), request, timeout)
    _print(steps, as_json)
    sys.exit(ExitCode.DONE if all(step.advice is None for step in steps) else ExitCode.FAILED)


def _gpus(gpus: Sequence[GpuStatus], began: float) -> Step:
    ready = [gpu for gpu in gpus if gpu.ready]
    slots = sum(gpu.slots for gpu in ready)
    names = ", ".join(gpu.id for gpu in ready) or "none"
    detail = f"{len(ready)} of {len(gpus)} ready, {slots} slots: {names}"
    return Step(name="GPUs", seconds=time.monotonic() - began if ready and slots else None, detail=detail)


def _through_the_fleet(jobs: Jobs, file: str, request: dict[str, Any], timeout: float) -> list[Step]:
    job = jobs.submit(file_path=file, **request)
    deadline = time.monotonic() + timeout
    while (outcome := jobs.outcome(job)) is None and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    received = time.time()
    waits = None if outcome else jobs.status(job).message
    record = jobs.record(job)
    if outcome is None:
        jobs.cancel(job)
    return list(steps_of(record, outcome, received, waits))


def steps_of(record: JobRecord, outcome: Outcome | None, received: float, waits: str | None) -> Iterator[Step]:
    """Yield the steps of a job up to the first that was not made. Pure. `received` is when its outcome was read."""
    before, is_done = record.accepted, record.state is JobState.DONE
    moments = {
        "planned": record.planned,
        "started": record.started,
        "transcribed": record.ended if is_done else None,
        "delivered": received if is_done and outcome is not None and outcome.succeeded else None,
    }
    details = {"planned": f"decoded {record.duration or 0:.1f} s of audio", "started": "waited for a slot"}
    for name, moment in moments.items():
        if moment is None:
            reason = (outcome.error if outcome else None) or record.error or waits or f"still {record.state}"
            yield Step(name=name, seconds=None, detail=reason)
            return
        yield Step(name=name, seconds=max(moment - before, 0.0), detail=details.get(name, ""))
        before = moment
    text = outcome.result.text.strip() if outcome else ""
    yield Step(name="text", seconds=0.0 if text else None, detail=text or "nothing")


def _print(steps: Sequence[Step], as_json: bool) -> None:
    if as_json:
        for step in steps:
            print_line({"step": step.name, "seconds": step.seconds, "detail": step.detail, "advice": step.advice})
        return
    console = results_console()
    for step in steps:
        mark = ("✗", "red") if step.seconds is None else ("✓", "green")
        took = "" if step.seconds is None or step.name == "text" else f"{step.seconds:.2f} s"
        detail = f"  {printable(step.detail)}" if step.detail else ""
        console.print(Text.assemble(mark, f" {step.name:<12}{took:>9}{detail}"), soft_wrap=True)
        if step.advice:
            console.print(f"  {step.advice}", soft_wrap=True)
