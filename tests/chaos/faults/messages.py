"""Raw messages that no program of the fleet would send, on the queues of its own."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence

from tests.chaos.rows import row
from tests.chaos.scene.scene import Scene
from whisper_fleet.shared import names
from whisper_fleet.shared.broker.dead_letters import DeadLetters

_ODD_HEADERS: list[dict[str, object]] = [
    {},
    {"id": []},
    {"id": {}},
    {"task": ["dispatch"]},
    {"task": "os.system"},
    {"timelimit": "soon"},
    {"stamps": 7},
    {"eta": "yesterday"},
    {"retries": "many"},
    {"compression": "rot13"},
    {"expires": "2000-01-01T00:00:00+00:00"},
]
_ODD_BODIES: list[object] = [
    "not base64 \u0000",
    [[], {}, {}],
    [[], {"job": "no-such-job", "segment": 0, "token": "t"}, {}],
    [[], {"job": "no-such-job", "segment": -1, "token": ""}, {}],
    [[], {"job": ["a"], "segment": "zero", "token": None}, {}],
    [[], {"job": "x" * 100_000, "segment": 2**70, "token": "t"}, {}],
    [7, 7, 7],
    [[1, 2, 3], {"unknown": True}, {"callbacks": [{"task": "os.system"}]}],
]
_ODD_TEXTS = ["", "{]", "null", "[1]", "\u0000" * 1000, "9" * 5000, "[" * 5000, json.dumps({"properties": {}})]


def _message(queue: str, task: str, number: int, headers: dict[str, object], body: object) -> str:
    encoded = body if isinstance(body, str) else base64.b64encode(json.dumps(body).encode()).decode()
    tag = f"hostile-{queue}-{number}"
    return json.dumps(
        {
            "body": encoded,
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"task": task, "id": tag, "lang": "py", **headers},
            "properties": {
                "delivery_tag": tag,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "body_encoding": "base64",
                "priority": 0,
            },
        }
    )


def hostile_messages(queue: str, task: str) -> list[str]:
    """Return every combination of an odd header and an odd body, and texts that are no message at all."""
    pairs = [(headers, body) for headers in _ODD_HEADERS for body in _ODD_BODIES]
    return [*_ODD_TEXTS, *(_message(queue, task, number, *pair) for number, pair in enumerate(pairs))]


def _letters_are_all(scene: Scene, jobs: Sequence[str]) -> Sequence[str]:
    """Return what is wrong: no dead letters at all would mean that hostile messages were carried out."""
    return [] if scene.noted_letters else ["no dead letter for any hostile message"]


@row("hostile messages on the queues of schedulers and nodes", check=_letters_are_all)
def hostile(scene: Scene) -> None:
    """Some hundred messages on each queue; those that cannot be read become dead letters, which are then deleted."""
    queues = {names.SCHEDULER_QUEUE: names.DISPATCH, "gpu.left.0": names.TRANSCRIBE_SEGMENT}
    for queue, task in queues.items():
        for message in hostile_messages(queue, task):
            scene.redis.lpush(queue, message)
    deadline = time.monotonic() + 120
    while any(scene.redis.llen(queue) for queue in queues) and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(5.0)
    letters = DeadLetters(scene.redis)
    found = letters.all()
    scene.noted_letters = len(found)
    for letter in found:
        letters.delete(letter.number)
