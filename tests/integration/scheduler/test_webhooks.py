"""The end of a job is reported to the address that the job names, and never to an address that is not allowed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from openai import OpenAI
from redis import Redis

from tests.conftest import SPEECH
from tests.integration.shared.test_audio_urls import trickling
from tests.support.fleet_processes import running_fleet
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Receiver, receiving
from whisper_fleet.scheduler.intake.settlement import settle
from whisper_fleet.scheduler.services import Services, make_services
from whisper_fleet.scheduler.webhooks import courier, sending
from whisper_fleet.scheduler.webhooks.courier import Courier
from whisper_fleet.scheduler.webhooks.sending import send
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.errors import CallbackNotAllowed, FileMissing
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.webhooks.deliveries import Deliveries, Delivery
from whisper_fleet.shared.webhooks.events import Event
from whisper_fleet.shared.webhooks.secrets import SecretStore, new_secret
from whisper_fleet.shared.wire import TranscribeRequest

pytestmark = pytest.mark.integration


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def fleet_of(redis_url: str, directory: Path, *prefixes: str) -> Services:
    settings = Settings(redis_url=redis_url, var_dir=directory, callback_prefixes=prefixes)
    return make_services(Celery("test", broker=redis_url, backend=redis_url, set_as_current=False), settings)


def ended_job(fleet: Services, url: str, job: str = "j", tenant: str = "") -> None:
    """Enter a job with a callback URL, fail it, and settle it."""
    request = TranscribeRequest(file_path="/no.wav", model_name="base", callback_url=url, tenant=tenant)
    fleet.ledger.accept(job, request, time.time())
    fleet.ledger.fail(job, "FileMissing", "/no.wav does not exist", time.time())
    settle(fleet, job)


def test_only_an_address_that_is_allowed_is_called_at_the_end(
    redis_url: str, tmp_path: Path, receiver: Receiver, redis: Redis
) -> None:
    allowed = [f"{receiver.url}/mine/"]
    with running_fleet(["intake"], redis_url, tmp_path, tmp_path, callback_prefixes=allowed) as fleet:
        refused = fleet.submit(file_path="/no.wav", callback_url=f"{receiver.url}/others")
        with pytest.raises(CallbackNotAllowed, match="CALLBACK_PREFIXES"):
            refused.get(timeout=60)
        missing = fleet.submit(file_path="/no.wav", callback_url=f"{receiver.url}/mine/jobs")
        with pytest.raises(FileMissing):
            missing.get(timeout=60)
        wait_until(lambda: receiver.received, 20)
        time.sleep(0.5)
    [call] = receiver.received
    assert (call.body["job"], call.body["state"]) == (missing.id, "failed")
    assert call.body["data"]["error"]["type"] == "FileMissing"
    client = OpenAI(api_key="x", webhook_secret=SecretStore(redis).of("").current)
    assert client.webhooks.unwrap(call.text, call.headers).id == call.headers["webhook-id"]
    client.close()


@pytest.mark.parametrize("terminate", [False, True])
def test_a_job_that_celery_revoked_is_reported_and_its_audio_dropped(
    redis_url: str, tmp_path: Path, receiver: Receiver, terminate: bool
) -> None:
    settings = {"callback_prefixes": [receiver.url]}
    with running_fleet(["intake"], redis_url, tmp_path, tmp_path, **settings) as fleet:
        job = fleet.submit(file_path=min(SPEECH.glob("*.wav")), callback_url=receiver.url)
        wait_until(lambda: (job.info or {}).get("stage") == "queued", 30)
        audio = Spool(fleet.settings).folder(job.id)
        audio.mkdir(parents=True)
        job.revoke(terminate=terminate)
        wait_until(lambda: job.state == "REVOKED", 20)
        wait_until(lambda: receiver.received, 10)
        wait_until(lambda: not audio.exists(), 10)
        time.sleep(0.5)
    assert [(call.body["type"], call.body["job"]) for call in receiver.received] == [("job.cancelled", job.id)]


def test_a_webhook_is_sent_again_with_the_same_id_after_its_sender_was_killed(
    redis_url: str, tmp_path: Path, receiver: Receiver, redis: Redis
) -> None:
    """The receiver has the first call when intake is killed, and its answer reaches nobody."""
    receiver.hold.clear()
    settings = {"callback_prefixes": [receiver.url]}
    with running_fleet(["intake"], redis_url, tmp_path, tmp_path, **settings) as fleet:
        fleet.submit(file_path="/no.wav", callback_url=receiver.url)
        wait_until(lambda: receiver.received, 30)
        fleet.processes["intake"].kill()
        fleet.processes["intake"].wait()
    receiver.hold.set()
    again = fleet_of(redis_url, tmp_path, receiver.url)
    [delivery] = Deliveries(redis).waiting()
    later = time.time() + 2 * sending.CALL_SECONDS + 1
    claimed = Deliveries(redis).claim(later, later + 30, "another")
    assert claimed is not None
    courier.deliver(again, claimed)
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == delivery.event.id
    assert first.text == second.text
    assert claimed.attempts == 2
    assert Deliveries(redis).counts() == {"waiting": 0, "undeliverable": 0}


def test_slow_receivers_hold_up_neither_jobs_nor_other_receivers(
    redis_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    """Forty events for a server that accepts and answers nothing, and then one for another server."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = f"http://127.0.0.1:{silent.getsockname()[1]}"
        fleet = fleet_of(redis_url, tmp_path, slow, receiver.url)
        for number in range(40):
            ended_job(fleet, slow, f"slow{number}")
        ended_job(fleet, receiver.url, "other")
        sender = Courier(lambda: fleet)
        sender.start()
        try:
            wait_until(lambda: receiver.received, sending.CALL_SECONDS / 2)
            assert receiver.received[0].body["job"] == "other"
            wait_until(lambda: fleet.redis.zcard(keys.webhook_leased(slow)) == 4, sending.CALL_SECONDS / 2)
        finally:
            sender.stop()


def test_a_receiver_that_refused_for_a_day_is_listed_and_can_be_retried(
    redis_url: str, tmp_path: Path, redis: Redis
) -> None:
    with receiving(500, 500, 200) as receiver:
        fleet, deliveries = fleet_of(redis_url, tmp_path, receiver.url), Deliveries(redis)
        ended_job(fleet, receiver.url)
        now = time.time()
        first = deliveries.claim(now, now + 30, "a")
        assert first is not None
        courier.deliver(fleet, first)
        [waiting] = deliveries.waiting()
        assert waiting.error == "the receiver answered 500"
        assert deliveries.claim(now, now + 30, "b") is None  # the next attempt is not due
        last = deliveries.claim(now + 90_000, now + 90_030, "c")
        assert last is not None
        courier.deliver(fleet, replace(last, give_up=now))
        assert deliveries.counts() == {"waiting": 0, "undeliverable": 1}
        assert deliveries.retry(last.event.id, now)
        assert deliveries.counts() == {"waiting": 1, "undeliverable": 0}
        again = deliveries.claim(now, now + 30, "d")
        assert again is not None
        courier.deliver(fleet, again)
        assert deliveries.counts() == {"waiting": 0, "undeliverable": 0}
        assert len({call.headers["webhook-id"] for call in receiver.received}) == 1
        counts = fleet.ledger.counts()
        kinds = ("delivered", "later", "undeliverable")
        assert [counts[f"webhooks/{kind}"] for kind in kinds] == [1, 1, 1]


def test_a_claim_that_ran_out_can_no_longer_end_the_delivery(redis: Redis) -> None:
    deliveries = Deliveries(redis)
    deliveries.add(Event(id="evt_1", type="job.done", created=100.0, data={"id": "j"}), "http://a.example/x", "")
    slow = deliveries.claim(100.0, 130.0, "slow")
    assert slow is not None
    assert deliveries.claim(129.0, 160.0, "too early") is None
    other = deliveries.claim(131.0, 160.0, "other")
    assert other is not None
    assert not deliveries.postpone(slow, 500.0, "late", 132.0)
    assert deliveries.end_delivered(other, 133.0)
    assert not deliveries.end_delivered(other, 133.0)
    assert deliveries.claim(10_000.0, 10_030.0, "nothing is left") is None
    assert not [key for key in redis.keys("fleet:webhook*") if b"count" not in key]


def test_a_server_that_failed_gets_one_call_at_a_time_until_it_accepts(redis: Redis) -> None:
    deliveries = Deliveries(redis)
    for number in range(8):
        event = Event(id=f"evt_{number}", type="job.done", created=100.0, data={"id": str(number)})
        deliveries.add(event, "http://a.example/x", "")
    claimed = [deliveries.claim(100.0, 130.0, str(number)) for number in range(5)]
    held = [delivery for delivery in claimed if delivery is not None]
    assert len(held) == 4
    for delivery in held:
        assert deliveries.postpone(delivery, 200.0, "refused", 101.0)
    one = deliveries.claim(101.0, 131.0, "x")
    assert one is not None
    assert deliveries.claim(101.0, 131.0, "y") is None
    assert deliveries.end_delivered(one, 102.0)
    assert all(deliveries.claim(102.0, 132.0, str(number)) for number in range(3))


def test_servers_are_served_in_turn(redis: Redis) -> None:
    deliveries = Deliveries(redis)
    for target, count in (("a", 6), ("b", 2)):
        for number in range(count):
            event = Event(id=f"evt_{target}{number}", type="job.done", created=100.0, data={"id": "j"})
            deliveries.add(event, f"http://{target}.example/", "")
    claimed = [deliveries.claim(101.0 + number, 160.0, "t") for number in range(4)]
    assert [delivery.target[7] for delivery in claimed if delivery is not None] == ["a", "b", "a", "b"]


def test_events_that_nobody_retried_are_forgotten(redis: Redis) -> None:
    deliveries = Deliveries(redis)
    deliveries.add(Event(id="evt_1", type="job.done", created=100.0, data={"id": "j"}), "http://a.example/x", "")
    delivery = deliveries.claim(100.0, 130.0, "t")
    assert delivery is not None
    deliveries.end_undeliverable(delivery, "gone", 110.0)
    assert deliveries.forget(109.0) == 0
    assert deliveries.forget(110.0) == 1
    assert deliveries.undeliverable() == []
    assert not deliveries.retry("evt_1", 120.0)


def test_a_tenants_own_secret_signs_its_webhooks_and_the_fleets_all_others(redis: Redis) -> None:
    store = SecretStore(redis)
    fleets = store.of("acme")
    assert store.of("other") == store.of("") == fleets
    own = store.replace("acme", new_secret(), 100.0, 50.0)
    assert store.of("acme").valid_at(120.0) == [own.current, fleets.current]
    assert store.of("other") == fleets


def test_a_callback_that_an_older_node_noted_becomes_a_webhook(
    redis_url: str, tmp_path: Path, receiver: Receiver, redis: Redis
) -> None:
    fleet = fleet_of(redis_url, tmp_path)  # no prefix: so the job is settled without a webhook, as an older node does
    ended_job(fleet, receiver.url)
    assert Deliveries(redis).counts()["waiting"] == 0
    redis.zadd(keys.CALLBACKS, {"j": 1.0, "forgotten": 2.0})
    courier.adopt_old_callbacks(fleet)
    assert [delivery.event.type for delivery in Deliveries(redis).waiting()] == ["job.failed"]
    assert not redis.exists(keys.CALLBACKS)


def delivery_to(url: str) -> Delivery:
    event = Event(id="evt_1", type="job.done", created=1.0, data={"id": "j"})
    return Delivery(event=event, url=url, target=url, owner="", give_up=2.0, attempts=1, error=None, token="t")


def call(url: str) -> Any:
    return send(delivery_to(url), [new_secret()], Settings(callback_prefixes=(url,)), time.time())


def test_a_receiver_that_sends_a_byte_now_and_then_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "CALL_SECONDS", 0.5)
    with trickling(b"HTTP/1.1 200 OK\r\nX-Slow: ") as url:
        assert call(url).error == "it took longer than 0.5 s"


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The address of a server that answers one request with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join()


def test_a_receiver_that_answers_nonsense_is_an_error_of_the_receiver() -> None:
    with answering(b"this is no HTTP\r\n\r\n") as url:
        assert call(url).error


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    location = f"Location: {receiver.url}/private\r\n".encode()
    with answering(b"HTTP/1.1 307 Elsewhere\r\n" + location + b"Content-Length: 0\r\n\r\n") as url:
        assert call(url).error == "the receiver answered 307"
    assert receiver.received == []


def test_a_receiver_that_is_busy_says_when_to_call_again() -> None:
    with receiving(503) as busy:
        busy.headers = {"Retry-After": "77"}
        assert call(busy.url).retry_after == 77
