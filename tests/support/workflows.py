"""Another service: its own Celery tasks, and workflows of them around `transcribe`. It knows nothing of the fleet.

Run as a script, in an environment that may have nothing but Celery, it prints what each workflow gave as JSON.
REDIS_URL and CLIP come from the environment, and OPTIONS, further keywords of `transcribe` as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import celery
from celery import Celery, group
from celery import chain as celery_chain
from celery import chord as celery_chord

URL, CLIP = os.environ["REDIS_URL"], os.environ["CLIP"]
OPTIONS = json.loads(os.environ.get("OPTIONS", "{}"))
PATIENCE = 60
#: The stubs know less of a chain's result than it has.
chain: Any = celery_chain
chord: Any = celery_chord

app = Celery("workflows", broker=URL, backend=URL)


def words(transcript: Any) -> Any:
    return transcript["text"].strip()


@app.task(name="service.after", bind=True)
def after(self: Any, transcript: Any) -> Any:
    request = self.request
    return {
        "words": words(transcript),
        "parent": request.parent_id,
        "root": request.root_id,
        "stamps": request.stamps or {},
    }


@app.task(name="service.find")
def find(path: Any) -> Any:
    return path


@app.task(name="service.count")
def count(transcripts: Any) -> Any:
    return [words(transcript) for transcript in transcripts]


@app.task(name="service.failed")
def failed(job: Any) -> Any:
    return note("failed", job)


@app.task(name="service.notice")
def notice(transcript: Any) -> Any:
    return note("noticed", words(transcript))


@app.task(name="service.replaced", bind=True)
def replaced(self: Any, path: Any) -> Any:
    raise self.replace(transcribe(file_path=path))


def transcribe(**keywords: Any) -> Any:
    keywords = {"file_path": CLIP, **OPTIONS, **keywords} if OPTIONS else keywords
    return app.signature("transcribe", kwargs=keywords or {"file_path": CLIP}, queue="transcribe", immutable=True)


def step() -> Any:
    """`transcribe` that takes what the step before it returns."""
    return app.signature("transcribe", queue="transcribe")


def note(key: Any, value: Any) -> Any:
    backend: Any = app.backend
    backend.client.rpush("service:" + key, value)


def noted(key: Any) -> Any:
    """Wait for what a callback noted."""
    backend: Any = app.backend
    found = backend.client.blpop("service:" + key, timeout=PATIENCE)
    return found and found[1].decode()


def give(result: Any) -> Any:
    """Return what a result gives, or the name of its error."""
    try:
        return result.get(timeout=PATIENCE, interval=0.05)
    except Exception as error:
        return type(error).__name__


def stored(task: Any) -> Any:
    """Return the name of the error that a task ended with, from what is stored and not from what was published."""
    until = time.time() + PATIENCE
    while not app.AsyncResult(task).ready() and time.time() < until:
        time.sleep(0.05)
    return type(app.AsyncResult(task).result).__name__


def link() -> Any:
    back = after.s()
    callback = back.freeze()
    job = transcribe().apply_async(link=back, task_id="linked")
    return [words(give(job)), give(callback)]


def link_error_at_once() -> Any:
    job = transcribe(file_path="/no/such.wav").apply_async(link_error=failed.s())
    return [give(job), noted("failed") == job.id]


def link_error_later() -> Any:
    job = transcribe(file_path=CLIP, tenant="fails").apply_async(link_error=failed.s())
    return [give(job), noted("failed") == job.id]


def link_error_with_a_queue() -> Any:
    job = transcribe(file_path=CLIP, tenant="fails").apply_async(link_error=failed.s().set(queue="service"))
    return [give(job), noted("failed") == job.id]


def chain_first() -> Any:
    result = chain(transcribe(), after.s()).apply_async()
    return [give(result)["words"], give(result)["root"] == result.parent.id]


def chain_middle() -> Any:
    result = chain(find.s(CLIP), step(), after.s()).apply_async()
    return [give(result)["words"], give(result)["root"] == result.parent.parent.id]


def chain_last() -> Any:
    return words(give(chain(find.s(CLIP), step()).apply_async()))


def chain_that_fails() -> Any:
    result = chain(transcribe(file_path=CLIP, tenant="fails"), after.s()).apply_async()
    return [give(result.parent), give(result)]


def in_group() -> Any:
    return [words(transcript) for transcript in give(group(transcribe(), transcribe()).apply_async())]


def in_chord() -> Any:
    return give(chord([transcribe(), transcribe(), transcribe()], count.s()).apply_async())


def chord_that_fails() -> Any:
    result = chord([transcribe(), transcribe(file_path=CLIP, tenant="fails")], count.s()).apply_async()
    return [give(result), stored(result.id)]


def chord_with_a_cancelled_member() -> Any:
    late = transcribe().set(countdown=600)
    result = chord([transcribe(), late], count.s()).apply_async()
    time.sleep(1)
    result.parent[1].revoke()
    return [give(result), stored(result.id)]


def replace() -> Any:
    return words(give(replaced.delay(CLIP)))


def countdown() -> Any:
    began = time.time()
    job = transcribe().apply_async(countdown=3)
    while job.state != "PROGRESS" and time.time() < began + 3:
        time.sleep(0.05)
    stage = job.info["stage"]
    return [stage, words(give(job)), time.time() - began >= 3]


def eta() -> Any:
    return words(give(transcribe().apply_async(eta=datetime.now(UTC) + timedelta(seconds=1))))


def expires_while_it_waits() -> Any:
    return give(transcribe(file_path=CLIP, gpu_ids=["testhost:0"], tenant="waits").apply_async(expires=3))


def expires_before_its_time() -> Any:
    return give(transcribe().apply_async(countdown=3, expires=1))


def revoked_before_its_time() -> Any:
    job = transcribe().apply_async(countdown=600)
    time.sleep(1)
    job.revoke()
    return give(job)


def ignore_result() -> Any:
    job = transcribe().apply_async(ignore_result=True, link=notice.s())
    seen = noted("noticed")
    return [seen, app.AsyncResult(job.id).state]


def stamps() -> Any:
    back = after.s()
    callback = back.freeze()
    job = transcribe()
    job.link(back)
    job.stamp(customer="anna")
    job.apply_async(headers={"trace": "7"})
    return give(callback)["stamps"]


WORKFLOWS = [
    link, link_error_at_once, link_error_later, link_error_with_a_queue, chain_first, chain_middle, chain_last,
    chain_that_fails, in_group, in_chord, chord_that_fails, chord_with_a_cancelled_member, replace, countdown, eta,
    expires_while_it_waits, expires_before_its_time, revoked_before_its_time, ignore_result, stamps,
]  # fmt: skip

if __name__ == "__main__":
    asked = sys.argv[1:]
    results: dict[str, Any] = {}
    for workflow in WORKFLOWS:
        if not asked or workflow.__name__ in asked:
            began = time.time()
            try:
                results[workflow.__name__] = workflow()
            except Exception as error:
                results[workflow.__name__] = repr(error)
            print(
                workflow.__name__,
                results[workflow.__name__],
                round(time.time() - began, 1),
                file=sys.stderr,
                flush=True,
            )
    print(json.dumps({"celery": celery.__version__, **results}))
