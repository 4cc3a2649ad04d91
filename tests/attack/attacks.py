"""The attacks on a live fleet, each judged by the answers, the processes, the logs, and a good job after it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import Any, cast

from redis import Redis

from tests.attack import files, messages
from tests.attack.judge import Verdict, await_answers
from tests.attack.media import Mutations
from tests.attack.requests import RandomRequests
from tests.attack.target import CHEAP, Target
from tests.support.waiting import wait_until
from whisper_fleet.shared.broker.dead_letters import DeadLetters
from whisper_fleet.shared.broker.receipt import task_id_of


def random_requests(target: Target, count: int, seed: int) -> None:
    """Send random requests: every one gets a transcript, or an error that says what is wrong with it."""
    make = RandomRequests(seed, tuple(target.files[:4]), target.out).make
    with target.attack(f"random requests, seed {seed}") as verdict:
        target.judge(verdict, [target.send(make()) for _ in range(count)])


def mutated_media(target: Target, count: int, seed: int) -> None:
    """Send damaged files of every format."""
    folder = target.media / f"mutated-{seed}"
    folder.mkdir()
    mutations = Mutations(seed, target.files, folder)
    with target.attack("mutated media files") as verdict:
        sent = [target.send({"file_path": str(mutations.make(number)), **CHEAP}) for number in range(count)]
        target.judge(verdict, sent)


def unreadable_messages(target: Target) -> None:
    """Push what no consumer can read on every queue: each becomes a dead letter, and a readable id gets its answer."""
    letters = DeadLetters(target.fleet.redis)
    before = {letter.number for letter in letters.all()}
    sent = list(messages.unreadable())
    with target.attack("unreadable messages, 5 queues") as verdict:
        for queue, raw in sent:
            target.fleet.redis.lpush(queue, raw)
        wait_until(lambda: len(letters.all()) - len(before) >= len(sent), 120, interval=0.5)
        texts = [raw if isinstance(raw, str) else raw.decode(errors="replace") for _, raw in sent]
        target.judge(verdict, {job for text in texts if (job := task_id_of(text[: 4 << 20])) is not None})
        verdict.cases = len(sent)
        _nothing_is_left(target, (queue for queue, _ in sent))


def odd_messages(target: Target) -> None:
    """Push messages that Celery can read, with what no producer sends in them."""
    redis = target.fleet.redis
    with target.attack("odd messages, 5 queues") as verdict:
        requests = dict(messages.odd_requests({"file_path": str(target.files[0]), **CHEAP}))
        for raw in requests.values():
            redis.lpush("transcribe", raw)
        internals = list(messages.odd_internals())
        for queue, raw in internals:
            redis.lpush(queue, raw)
        ignoring = {job for job, raw in requests.items() if json.loads(raw)["headers"].get("ignore_result")}
        target.judge(verdict, requests.keys() - ignoring)
        verdict.cases = len(requests) + len(internals)
        _nothing_is_left(target, messages.QUEUES)


def _nothing_is_left(target: Target, queues: Iterable[str]) -> None:
    """Wait until the queues are empty and every message is acknowledged, but for those that wait for their time."""
    redis = target.fleet.redis
    for queue in set(queues):
        wait_until(partial(_is_empty, redis, queue), 60, interval=0.2)
    wait_until(lambda: not redis.hlen("unacked"), 60, interval=0.2)


def _is_empty(redis: Redis, queue: str) -> bool:
    return not redis.llen(queue)


def remote_control(target: Target) -> None:
    """Broadcast every command that would stop or change a process, and what is no command."""
    control = target.fleet.app.control
    before = _consumed(target)
    with target.attack("remote control") as verdict:
        for command, arguments in messages.COMMANDS:
            control.broadcast(command, arguments=arguments)
        for hostile in messages.BROADCASTS:
            target.fleet.redis.publish("/0.celery.pidbox", hostile)
        verdict.cases = len(messages.COMMANDS) + len(messages.BROADCASTS)
        wait_until(lambda: _consumed(target) == before, 30, interval=1.0)


def _consumed(target: Target) -> dict[str, list[str]]:
    """Return which queues each node consumes, and how large its pool is."""
    inspect = target.fleet.app.control.inspect(timeout=3)
    queues = cast("dict[str, Any]", inspect.active_queues() or {})
    return {node: sorted(str(queue["name"]) for queue in named) for node, named in queues.items()}


def forbidden_files(target: Target) -> None:
    """Name what is no file below the roots, as input, as output and as model."""
    files.silence(target.outside / "secret.wav", 5.0)
    paths = files.forbidden_paths(target.media, target.outside)
    good = str(target.files[0])
    with target.attack("FIFOs, devices, links, playlists") as verdict:
        sent = [target.send({"file_path": path, **CHEAP}) for path in paths]
        sent += [target.send({"file_path": good, "model_name": path, **CHEAP}) for path in paths]
        target.judge(verdict, sent)
        assert verdict.succeeded == 0
        outputs = [str(target.outside), f"{target.media}/away", f"{target.out}/../outside", "/etc/x.txt", "/dev/null"]
        written = Verdict("output outside the roots")
        target.judge(written, [target.send({"file_path": good, "output_path": path, **CHEAP}) for path in outputs])
        assert written.succeeded == 0 and sum(written.failed.values()) == len(outputs), written
        assert sorted(path.name for path in target.outside.iterdir()) == ["secret.wav"]


def swapped_input(target: Target, tries: int) -> None:
    """Replace the input folder by a link to another place all the time: no job ever reads what is there."""
    inside, secret = target.media / "swapped-inside", target.outside / "secret"
    inside.mkdir()
    secret.mkdir()
    files.silence(inside / "talk.wav", 2.0)
    files.silence(secret / "talk.wav", 4.0)
    place = target.media / "swapped"
    with target.attack("a swapped input folder") as verdict, files.swapped(place, inside, secret):
        sent = [target.send({"file_path": f"{place}/talk.wav", **CHEAP}) for _ in range(tries)]
        target.judge(verdict, sent)
        results: list[Any] = [target.fleet.app.AsyncResult(job) for job in sent]
        assert {result.result["duration_s"] for result in results if result.state == "SUCCESS"} <= {2.0}


def swapped_output(target: Target, tries: int) -> None:
    """Replace the output folder by a link to another place all the time: nothing is ever written there."""
    inside, away = target.out / "swapped-inside", target.outside / "written"
    inside.mkdir()
    away.mkdir()
    place = target.out / "swapped"
    keywords = {"file_path": str(target.files[0]), "output_path": str(place), **CHEAP}
    with target.attack("a swapped output folder") as verdict, files.swapped(place, inside, away):
        target.judge(verdict, [target.send(keywords) for _ in range(tries)])
        assert list(away.iterdir()) == []


def expansion(target: Target) -> None:
    """Send small files that are hours of audio."""
    with target.attack("expansion bombs") as verdict:
        target.judge(verdict, [target.send({"file_path": str(bomb), **CHEAP}) for bomb in files.bombs(target.media)])
        assert verdict.failed.keys() == {"AudioTooLong"}, verdict


def hostile_models(target: Target) -> None:
    """Name checkpoints that claim more than they hold, or that run code."""
    marker = target.outside / "code-ran"
    models = files.hostile_checkpoints(target.model.parent, target.model, marker)
    try:
        with target.attack("hostile checkpoints") as verdict:
            good = str(target.files[0])
            target.judge(verdict, [target.send({"file_path": good, "model_name": str(m), **CHEAP}) for m in models])
            assert verdict.succeeded == 0 and not marker.exists()
    finally:
        for model in models:
            model.unlink()


def slow_addresses(target: Target, count: int) -> None:
    """Occupy intake with addresses that send a byte per second: other tenants are served meanwhile."""
    with target.attack("slow URLs and callbacks") as verdict:
        address = f"{target.site.url}slow/a.wav"
        slow = [target.send({"file_path": address, "tenant": "slow", **CHEAP}) for _ in range(count)]
        slow += [target.send({"file_path": f"{target.site.url}endless/a.wav", "tenant": "slow", **CHEAP})]
        wait_until(lambda: target.site.seen.get("slow"), 60)
        others = Verdict("others meanwhile")
        called = {"callback_url": f"{target.site.url}callback"}
        good = [
            target.send({"file_path": str(target.files[0]), "tenant": "other", **called, **CHEAP}) for _ in range(4)
        ]
        await_answers(target.fleet.redis, others, good)
        assert others.succeeded == len(good), others
        answered = [job for job in slow if target.fleet.app.AsyncResult(job).ready()]
        assert len(answered) < len(slow), "the slow ones ended before the others, so nothing was shown"
        target.judge(verdict, slow)
