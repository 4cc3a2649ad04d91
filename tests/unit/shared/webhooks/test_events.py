"""What a webhook's body holds."""

from __future__ import annotations

import json

import pytest

from whisper_fleet.shared.webhooks.events import Event, event_id, target_of_url


def test_the_body_is_an_event_of_both_standards_and_still_what_callbacks_held() -> None:
    event = Event(id="evt_1", type="job.failed", created=1_700_000_000.25, data={"id": "j", "error": {"type": "X"}})
    assert json.loads(event.body()) == {
        "id": "evt_1",
        "object": "event",
        "type": "job.failed",
        "created_at": 1_700_000_000,
        "timestamp": "2023-11-14T22:13:20.250Z",
        "job": "j",
        "state": "failed",
        "data": {"id": "j", "state": "failed", "error": {"type": "X"}},
    }


def test_the_body_is_the_same_in_every_attempt() -> None:
    event = Event(id="evt_1", type="batch.completed", created=1.5, data={"id": "batch_1"})
    assert event.body() == event.body()
    assert json.loads(event.body())["batch"] == "batch_1"


def test_an_event_has_one_id_and_others_have_another() -> None:
    assert event_id("job", "a", "1.0") == event_id("job", "a", "1.0")
    assert len({event_id("job", "a", "1.0"), event_id("job", "a", "2.0"), event_id("job", "a1", ".0")}) == 3


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://Example.org/hooks/a?b=c", "https://example.org"),
        ("http://10.0.0.1:8080/x", "http://10.0.0.1:8080"),
    ],
)
def test_deliveries_share_a_target_if_they_go_to_one_server(url: str, target: str) -> None:
    assert target_of_url(url) == target
