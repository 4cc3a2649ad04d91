"""Run a GPU node whose segments do nothing: all of the bookkeeping, none of the work."""

from __future__ import annotations

from celery import Celery

from whisper_fleet.shared import names
from whisper_fleet.shared.connect import connect
from whisper_fleet.shared.ledger.actions import JobActions
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.settings import load_settings
from whisper_fleet.shared.wire import SegmentMessage, SegmentResult
from whisper_fleet.workers.node.attempt import Attempt
from whisper_fleet.workers.node.connections import Connections, LedgerClient
from whisper_fleet.workers.node.context import NodeContext
from whisper_fleet.workers.pool.slots import current_slot

app = Celery("whisper_fleet")
app.config_from_object("whisper_fleet.celeryconfig")

_RESULT = SegmentResult(text="", language="en", segments=(), gpu="bench.0", decode_seconds=0.0, transcribe_seconds=0.0)


class _NoAssembly(JobActions):
    """Do nothing: there is no intake that would assemble the jobs."""

    def publish_assemble(self, job: str) -> None:
        pass


def _context() -> NodeContext:
    """The part of a node that an attempt needs when there is neither engine nor audio."""
    settings = load_settings()
    redis = connect(settings.redis_url)
    ledger = Ledger(redis, settings)
    client = LedgerClient(redis=redis, ledger=ledger, actions=_NoAssembly(ledger, app))
    connections = Connections(app=app, retrying=client, fail_fast=client)
    return NodeContext(str(names.GpuName(settings.host, 0)), settings, connections, lambda _: True)


_CONTEXT = _context()


@app.task(name="noop", ignore_result=True)
def noop() -> None:
    """Do nothing: this task measures bare Celery."""


@app.task(name=names.TRANSCRIBE_SEGMENT, ignore_result=True)
def transcribe_segment(job: str, segment: int, token: str) -> None:
    """The node's own steps around a transcription that is not made."""
    message = SegmentMessage(job=job, segment=segment, token=token)
    attempt = Attempt(_CONTEXT, message, current_slot(), lambda _: None)
    with attempt.settled():
        attempt.start()
        attempt.finish(_RESULT)
