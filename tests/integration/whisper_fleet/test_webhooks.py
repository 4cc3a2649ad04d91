"""`whisper-fleet webhooks` lists what is not delivered, lets it be sent again, and shows and rotates the secrets."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from whisper_fleet.cli import webhooks as cli
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.webhooks.deliveries import Deliveries
from whisper_fleet.shared.webhooks.events import Event
from whisper_fleet.shared.webhooks.secrets import SecretStore

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def fleet(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "local_settings", lambda: Settings(redis_url=redis_url, var_dir=tmp_path))


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cli.webhooks, arguments)


def given_up(redis: Redis, event_id: str, url: str) -> None:
    deliveries, now = Deliveries(redis), time.time()
    deliveries.add(Event(id=event_id, type="job.done", created=now, data={"id": "j"}), url, "acme")
    delivery = deliveries.claim(now, now + 30, "t")
    assert delivery is not None
    deliveries.end_undeliverable(delivery, "the receiver answered 410", now)


def test_what_is_undeliverable_is_listed_and_sent_again(redis: Redis) -> None:
    assert command("list").output == "no webhooks\n"
    given_up(redis, "evt_1", "https://example.org/\x1b[31m")
    line = command("list").output
    assert line.startswith("evt_1  ")
    assert "undeliverable  job.done j to https://example.org/\\x1b[31m, attempts: 1: the receiver answered 410" in line
    [known] = json.loads(command("list", "--json").output)
    assert (known["state"], known["tenant"], known["attempts"]) == ("undeliverable", "acme", 1)
    assert command("retry", "evt_1").output == "due again: 1\n"
    assert Deliveries(redis).counts() == {"waiting": 1, "undeliverable": 0}


def test_every_undeliverable_webhook_can_be_sent_again_at_once(redis: Redis) -> None:
    for number in range(3):
        given_up(redis, f"evt_{number}", "https://example.org/")
    assert command("retry", "--all").output == "due again: 3\n"


def test_an_event_that_is_not_known_is_an_error() -> None:
    result = command("retry", "evt_none")
    assert result.exit_code == 1
    assert command("retry").exit_code == 2
    assert command("retry", "--all", "evt_none").exit_code == 2


def test_a_secret_is_shown_rotated_and_set(redis: Redis) -> None:
    first = command("secret").output.strip()
    assert command("secret", "--tenant", "acme").output.strip() == first
    second = command("secret", "--tenant", "acme", "--rotate", "--keep", "1").output.strip()
    assert SecretStore(redis).of("acme").valid_at(time.time() + 3500) == [second, first]
    assert SecretStore(redis).of("acme").valid_at(time.time() + 3700) == [second]
    assert command("secret").output.strip() == first
    third = "whsec_" + "A" * 43 + "="
    assert command("secret", "--set", third).output.strip() == third
    assert command("secret", "--set", "password").exit_code == 1
