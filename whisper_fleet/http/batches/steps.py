"""The steps of a batch. Each reads the batch, does a little, and can be repeated by any server after a kill.

validating --> in_progress --> finalizing --> completed | expired | cancelled
          \\--> failed    \\--> cancelling --/
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import suppress

from whisper_fleet.errors import FleetError, JobNotFound
from whisper_fleet.http.access.callers import Caller
from whisper_fleet.http.batches.lines import PRIORITY, Line, LineError, job_of, options_of, read_lines, source_of
from whisper_fleet.http.batches.output import Part, output_lines
from whisper_fleet.http.batches.records import ENDED, Batch, BatchStore
from whisper_fleet.http.errors import ApiError, api_error
from whisper_fleet.http.files.records import StoredFile, add_file, find_file
from whisper_fleet.http.jobs.submission import submit_job
from whisper_fleet.http.services import HttpServices
from whisper_fleet.shared.audio.sources import opened
from whisper_fleet.shared.http.uploads import address_of
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import script, text
from whisper_fleet.shared.webhooks.deliveries import fields_of
from whisper_fleet.shared.webhooks.events import Event, event_id
from whisper_fleet.shared.wire import JobState

#: Jobs of one batch that the ledger has at a time, and that one step submits. The ledger is for what runs soon.
_MOST_OPEN, _MOST_NEW = 1000, 200
#: Seconds until the next step while jobs run.
_PAUSE = 1.0
_LABEL_LENGTH = 512


async def advance(services: HttpServices, batch_id: str) -> float | None:
    """Do the next step of a batch; return the seconds until the one after it, None if the batch has ended."""
    store = BatchStore(services.redis)
    batch = await store.find(batch_id)
    match batch.status:
        case "validating":
            await _validate(services, store, batch)
        case "in_progress":
            return await _run(services, store, batch)
        case "cancelling":
            return await _cancel(services, store, batch)
        case "finalizing":
            await _finalize(services, store, batch)
    if (await store.find(batch_id)).status in ENDED:
        await store.keep_for(batch_id, services.settings.job_retention)
        return None
    return 0.0


async def _validate(services: HttpServices, store: BatchStore, batch: Batch) -> None:
    order = batch.order
    try:
        file = await find_file(services.redis, order.input_file_id, _caller(batch))
        data = await asyncio.to_thread(_read, services, file)
        lines, errors = await asyncio.to_thread(read_lines, data, order.endpoint)
    except (ApiError, FleetError) as error:
        lines, errors = [], [LineError(code="invalid_input_file", message=str(error), param="input_file_id")]
    if errors:
        shown = json.dumps([error.model_dump() for error in errors])
        if await store.move(batch, "failed", errors=shown):
            await _announce(services, batch, "failed")
        return
    await store.store_lines(order.id, lines)
    await store.move(batch, "in_progress", total=len(lines))


def _read(services: HttpServices, file: StoredFile) -> bytes:
    with opened(address_of(file.upload), services.settings) as path:
        return path.read_bytes()


async def _run(services: HttpServices, store: BatchStore, batch: Batch) -> float:
    """Count the lines whose jobs have ended, and submit others in their place."""
    is_open = await _collect(services, store, batch)
    if time.time() >= batch.order.expires:
        await _end_early(services, store, batch, is_open, "finalizing", "expired")
        return 0.0
    last = min(batch.total, batch.submitted + max(0, min(_MOST_NEW, _MOST_OPEN - len(is_open))))
    numbers = range(batch.submitted, last)
    for number, line in zip(numbers, await store.lines(batch.order.id, numbers), strict=True):
        await _submit(services, store, batch, number, line)
        await store.set_submitted(batch.order.id, number + 1)
    if last == batch.total and not is_open and not numbers:
        await store.move(batch, "finalizing")
        return 0.0
    return 0.0 if len(numbers) == _MOST_NEW else _PAUSE


async def _submit(services: HttpServices, store: BatchStore, batch: Batch, number: int, line: Line) -> None:
    await store.open_line(batch.order.id, number)
    try:
        keywords = await _keywords(services, batch, line)
        job = job_of(batch.order.id, number)
        await services.quota.start(_payer(batch), job)
        await submit_job(services, job, keywords)
    except (ApiError, FleetError) as error:
        answer = api_error(error)
        failed = line.model_copy(update={"error": answer.body(), "status": answer.status})
        await store.fail_line(batch.order.id, number, failed)


async def _keywords(services: HttpServices, batch: Batch, line: Line) -> dict[str, object]:
    source, options = source_of(line.body), options_of(line.body, services.settings)
    address = source.address
    if source.file_id is not None:
        file = await find_file(services.redis, source.file_id, _caller(batch))
        if not file.upload:
            raise ApiError(400, f"{source.file_id} is no audio file", param="file_id")
        address = address_of(file.upload)
    elif "://" not in str(address) or str(address).startswith("upload:"):
        raise ApiError(400, "url must be an address such as https://...", param="url")
    labels = {"batch_id": batch.order.id, "custom_id": line.custom_id[:_LABEL_LENGTH]}
    own = {"file_path": address, "tenant": batch.order.tenant, "priority": PRIORITY, "labels": labels}
    return {**options.request, **own}


async def _collect(services: HttpServices, store: BatchStore, batch: Batch) -> list[int]:
    """Count the lines whose jobs have ended; return those that are still open."""
    numbers = await store.open_lines(batch.order.id)
    states = await _states(services, [job_of(batch.order.id, number) for number in numbers])
    ended: dict[str, list[int]] = {"completed": [], "failed": []}
    left = []
    for number, (state, is_settled) in zip(numbers, states, strict=True):
        if state is None and number >= batch.submitted:  # the server that submitted it was killed before it did
            continue
        if state is None or (state.is_final and is_settled):
            ended["completed" if state is JobState.DONE else "failed"].append(number)
        else:
            left.append(number)
    for outcome, counted in ended.items():
        await store.end_lines(batch.order.id, outcome, counted)
    return left


async def _states(services: HttpServices, jobs: Sequence[str]) -> list[tuple[JobState | None, bool]]:
    """Return the states of jobs, and whether the outcome of each is stored."""
    pipeline = services.redis.pipeline(transaction=False)
    for job in jobs:
        pipeline.hget(keys.job(job), "state")
        pipeline.zscore(keys.DUE, job)
    read = await pipeline.execute()
    states = [None if state is None else JobState(text(state)) for state in read[::2]]
    return [(state, due is None) for state, due in zip(states, read[1::2], strict=True)]


async def _cancel(services: HttpServices, store: BatchStore, batch: Batch) -> float:
    is_open = await _collect(services, store, batch)
    await _end_early(services, store, batch, is_open, "finalizing" if not is_open else "", "cancelled")
    return _PAUSE if is_open else 0.0


async def _end_early(
    services: HttpServices, store: BatchStore, batch: Batch, is_open: Sequence[int], status: str, ending: str
) -> None:
    """Cancel what is open, and change the status if one is given."""
    for number in is_open:
        with suppress(JobNotFound):
            await services.fleet.cancel(job_of(batch.order.id, number))
    if status:
        await store.move(batch, status, ending=ending)


async def _finalize(services: HttpServices, store: BatchStore, batch: Batch) -> None:
    """Make the records of the result's files, and end the batch."""
    await _collect(services, store, batch)
    files: dict[str, str | int] = {}
    for part in ("output", "error"):
        if (file := await _result_file(services, batch, part)) is not None:
            await add_file(services.redis, file)
            files[part] = file.id
    ending = batch.ending or "completed"
    if await store.move(batch, ending, **files):
        await _announce(services, batch, ending)


async def _result_file(services: HttpServices, batch: Batch, part: Part) -> StoredFile | None:
    """Return the record of one part of the result; None if it has no lines."""
    size, digest = 0, hashlib.sha256()
    async for line in output_lines(services, batch.order.id, part):
        size += len(line)
        digest.update(line)
    if not size:
        return None
    began = batch.moments.get("in_progress_at", batch.order.created)  # the first result expires first
    return StoredFile(
        id=f"file-{hashlib.sha256(f'{batch.order.id}/{part}'.encode()).hexdigest()[:24]}",
        tenant=batch.order.tenant,
        filename=f"{batch.order.id}_{part}.jsonl",
        purpose="batch_output",
        bytes=size,
        created=time.time(),
        expires=began + services.settings.job_retention,
        sha256=digest.hexdigest(),
        batch=batch.order.id,
        part=part,
    )


async def _announce(services: HttpServices, batch: Batch, status: str) -> None:
    """Let a webhook report the end of a batch, if its client asked for one."""
    order = batch.order
    if order.callback_url is None:
        return
    name, now = event_id("batch", order.id), time.time()
    data = {"id": order.id, "tenant": order.tenant, "metadata": order.metadata}
    event = Event(id=name, type=f"batch.{status}", created=now, data=data)
    fields = fields_of(event, order.callback_url, order.tenant)
    await services.redis.eval(script("webhook_add")[0], 0, *fields)


def _payer(batch: Batch) -> Caller:
    """Return whose usage a line counts to; the limits of its key were checked when the batch was created."""
    return Caller(tenant=batch.order.tenant, scopes=frozenset(), key=batch.order.key)


def _caller(batch: Batch) -> Caller:
    return Caller(tenant=batch.order.tenant, scopes=frozenset(), key="batch")
