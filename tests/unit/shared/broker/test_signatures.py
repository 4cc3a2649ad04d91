"""What follows a task is checked when its message is received: Celery would fail on it when the task ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from hypothesis import given
from hypothesis import strategies as st

from whisper_fleet.shared.broker.signatures import SignatureProblem, check_followers

app = Celery("service", set_as_current=False)


def step(**options: Any) -> Any:
    return app.signature("step", queue="service", **options)


def sent(signature: Any) -> Any:
    """Return a signature as it arrives in a message."""
    return json.loads(json.dumps(signature, default=dict))


PLAIN = sent(step())


@pytest.mark.parametrize(
    "followers",
    [
        {},
        {"callbacks": None, "errbacks": None, "chain": None, "chord": None},
        {"callbacks": [sent(step(immutable=True))], "errbacks": [sent(step().set(countdown=5, priority=3))]},
        {"callbacks": [sent(step().set(link=step(), expires=60.0, serializer="json", headers={"a": 1}))]},
        {"chain": [sent(step()), sent(group(step(), step()))]},
        {"callbacks": [sent(chain(step(), step()))], "chord": sent(step())},
        {"callbacks": [sent(chord([step(), step()], step()))]},
    ],
)
def test_what_celery_makes_is_accepted(followers: dict[str, Any]) -> None:
    check_followers(followers)


def test_a_task_that_only_the_fleet_sends_follows_nothing() -> None:
    check_followers({"callbacks": [PLAIN]}, ("other",))
    with pytest.raises(SignatureProblem, match="hold the task step, which only the fleet itself sends"):
        check_followers({"chain": [sent(group(step(), step()))]}, ("step",))


def nested(depth: int) -> Any:
    inner = PLAIN
    for _ in range(depth):
        inner = {**PLAIN, "subtask_type": "chain", "kwargs": {"tasks": [inner]}}
    return inner


@pytest.mark.parametrize(
    ("followers", "reason"),
    [
        ({"callbacks": "x"}, "its callbacks are not a list"),
        ({"errbacks": [{"task": "n"}]}, "its errbacks hold something that is not a signature"),
        ({"chain": [{**PLAIN, "args": 7}]}, "its chain hold"),
        ({"chord": 7}, "its chord hold"),
        ({"callbacks": [{**PLAIN, "options": {"queue": 7}}]}, "option 'queue'"),
        ({"callbacks": [{**PLAIN, "options": {"countdown": "x"}}]}, "option 'countdown'"),
        ({"callbacks": [{**PLAIN, "options": {"priority": {}}}]}, "option 'priority'"),
        ({"callbacks": [{**PLAIN, "options": {"serializer": "nope"}}]}, "option 'serializer'"),
        ({"callbacks": [{**PLAIN, "options": {"producer": {}}}]}, "option 'producer'"),
        ({"callbacks": [{**PLAIN, "options": {"link": [{}]}}]}, "not a signature"),
        ({"callbacks": [{**PLAIN, "subtask_type": "nope"}]}, "of a type that Celery does not know"),
        ({"callbacks": [{**PLAIN, "subtask_type": "group", "kwargs": {"tasks": 7}}]}, "without tasks"),
        ({"errbacks": [{**PLAIN, "task": "celery.group"}]}, "not marked as one"),
        ({"callbacks": [nested(50)]}, "nest them too deep"),
        ({"callbacks": [PLAIN] * 1001}, "more than 1000"),
    ],
)
def test_what_celery_cannot_send_is_named(followers: dict[str, Any], reason: str) -> None:
    with pytest.raises(SignatureProblem, match=reason):
        check_followers(followers)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*PLAIN, "tasks", "queue"]), inner, max_size=6)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["callbacks", "errbacks", "chain", "chord"]), _JSON | st.lists(_JSON), max_size=3)
)
def test_nothing_raises_anything_else(followers: dict[str, Any]) -> None:
    try:
        check_followers(followers)
    except SignatureProblem as problem:
        assert str(problem)
