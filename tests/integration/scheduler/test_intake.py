"""What happens to intake while it works: Redis goes away, a process dies, somebody else is faster."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from celery import Celery
from celery.exceptions import Ignore
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.conftest import SPEECH
from tests.support.fleet_processes import running_fleet
from tests.support.gpu_status import gpu_status
from tests.support.ledger_by_hand import LedgerByHand, plan, request, result
from tests.support.process_tree import descendants, has_ended, is_named
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from whisper_fleet.client import FleetClient
from whisper_fleet.scheduler.dispatch_adapter import make_dispatcher
from whisper_fleet.scheduler.intake import tasks
from whisper_fleet.scheduler.intake.cutting import Cut
from whisper_fleet.scheduler.intake.planning import Planner
from whisper_fleet.scheduler.services import Services, make_services
from whisper_fleet.scheduler.upkeep.recovery import Recovery
from whisper_fleet.shared import binaries, names
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.broker.queues import queue_length
from whisper_fleet.shared.connect import connect_fail_fast
from whisper_fleet.shared.errors import AssemblyFailed, CorruptAudio, UnknownGpu
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobState, JobWarning

pytestmark = pytest.mark.integration

CLIP = min(SPEECH.glob("*.wav"))


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """What an intake process has, but that its patience with Redis ends at once."""
    monkeypatch.setattr("whisper_fleet.scheduler.services.connect", connect_fail_fast)
    app = Celery("intake", broker=redis_url, backend=redis_url, set_as_current=False)
    services = make_services(app, Settings(redis_url=redis_url, var_dir=tmp_path))
    monkeypatch.setattr(tasks, "services", lambda: services)
    monkeypatch.setattr(tasks, "_planner", lambda: Planner(services))
    return services


@contextmanager
def away(server: RedisServer, seconds: float) -> Iterator[None]:
    """Redis is down when the context begins, and comes back by itself."""
    server.kill()
    back = threading.Timer(seconds, server.start)
    back.start()
    try:
        yield
    finally:
        back.join()


def run(task: Any, job: str, **asked: Any) -> Any:
    task.push_request(id=job)
    try:
        return task.run(**asked)
    finally:
        task.pop_request()


def test_a_request_waits_for_redis_however_long_it_is_away(fleet: Services, redis_server: RedisServer) -> None:
    with away(redis_server, 1.5), pytest.raises(Ignore):
        run(tasks.transcribe, "j", file_path=str(CLIP))
    assert fleet.ledger.job("j").state is JobState.RUNNING


def test_a_transcript_waits_for_redis_however_long_it_is_away(
    fleet: Services, redis_server: RedisServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = LedgerByHand(redis)
    ledger.finish(ledger.running(ledger.planned("j")), result("Hello."), 4.0)
    with away(redis_server, 1.5):
        assert run(tasks.assemble, "j")["text"] == "Hello."
    read = Ledger.results
    answers = iter([RedisConnectionError("gone")])

    def results(self: Ledger, job: str) -> Any:
        for error in answers:
            raise error
        return read(self, job)

    monkeypatch.setattr(Ledger, "results", results)
    assert run(tasks.assemble, "j")["text"] == "Hello."
    assert fleet.ledger.job("j").state is JobState.ASSEMBLING


def test_a_transcript_is_put_together_by_one_process_at_a_time_and_not_for_ever(fleet: Services, redis: Redis) -> None:
    ledger = LedgerByHand(redis)
    ledger.finish(ledger.running(ledger.planned("j")), result(), 4.0)
    for now in (100.0, 200.0, 300.0):
        assert ledger.begin("j", JobState.ASSEMBLING, f"dies at {now}", time.time() + 30, time.time())
        with pytest.raises(Ignore):
            run(tasks.assemble, "j")
        ledger.due(time.time() + 30, now)
    with pytest.raises(AssemblyFailed):
        run(tasks.assemble, "j")
    assert fleet.ledger.job("j").state is JobState.FAILED


class Meanwhile(NamedTuple):
    """A file of one segment, while whose decoding something happens."""

    happens: Callable[[], None]
    seconds: float = 300.0

    def segments(self, *_: object) -> Generator[Cut, None, None]:
        self.happens()
        yield Cut(b"12", is_last=True)

    def warnings(self) -> tuple[JobWarning, ...]:
        return ()


def decode_meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    file = nullcontext(Meanwhile(happens))
    monkeypatch.setattr("whisper_fleet.scheduler.intake.decoding.decoder.opened_cuts", lambda *_: file)


@pytest.mark.parametrize("is_faster", [True, False])
def test_a_planner_that_is_late_leaves_the_audio_to_the_one_that_was_faster(
    fleet: Services, monkeypatch: pytest.MonkeyPatch, is_faster: bool
) -> None:
    spool = Spool(fleet.settings)

    def meanwhile() -> None:
        spool.write("j", 0, b"12")
        if is_faster:
            fleet.ledger.plan("j", plan(1), 1.0)
        else:
            fleet.ledger.cancel("j", 1.0)

    decode_meanwhile(monkeypatch, meanwhile)
    assert not Planner(fleet).take_in("j", {"file_path": str(CLIP)})
    assert spool.folder("j").exists() is is_faster


@pytest.mark.parametrize("is_faster", [True, False])
def test_what_goes_wrong_with_a_job_that_went_on_meanwhile_is_not_its_answer(
    fleet: Services, monkeypatch: pytest.MonkeyPatch, is_faster: bool
) -> None:
    def meanwhile() -> None:
        if is_faster:
            fleet.ledger.plan("j", plan(1), 1.0)
        else:
            fleet.ledger.cancel("j", 1.0)
        raise CorruptAudio(path=str(CLIP), reason="torn")

    decode_meanwhile(monkeypatch, meanwhile)
    assert not Planner(fleet).take_in("j", {"file_path": str(CLIP)})
    assert fleet.ledger.job("j").state is (JobState.RUNNING if is_faster else JobState.CANCELLED)


def test_no_two_processes_plan_under_one_name(fleet: Services) -> None:
    ours = fleet.name
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:  # as the pool does when one of its processes was lost
        os.write(writing, fleet.name.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100).decode() != ours == fleet.name
    os.close(reading)
    os.close(writing)


def hanging_once(directory: Path) -> Path:
    """An ffmpeg that hangs when it is first called."""
    script, called = directory / "ffmpeg", directory / "called"
    hang = f"if [ ! -e {called} ]; then touch {called}; exec sleep 600; fi"
    script.write_text(f'#!/bin/sh\n{hang}\nexec {binaries.ffmpeg()} "$@"\n')
    script.chmod(0o755)
    return script


def decoders(main: psutil.Process) -> list[tuple[psutil.Process, psutil.Process]]:
    """The processes of intake that decode, each with its decoder."""
    children = [(process, child) for process in main.children() for child in descendants(process.pid)]
    return [(process, child) for process, child in children if is_named(child, "sleep")]


def kill_planner(main: psutil.Process) -> bool:
    """SIGKILL for the process of intake that decodes, and for its decoder."""
    for process, decoder in decoders(main):
        process.kill()
        decoder.kill()
        return True
    return False


def test_a_request_whose_planner_is_killed_is_planned_by_another(redis_url: str, redis: Redis, tmp_path: Path) -> None:
    settings = {"ffmpeg": hanging_once(tmp_path)}
    with running_fleet(["intake"], redis_url, tmp_path, tmp_path, **settings) as fleet:
        job = fleet.submit(file_path=CLIP)
        wait_until(lambda: kill_planner(psutil.Process(fleet.processes["intake"].pid)))
        wait_until(lambda: "exited with" in fleet.log("intake").read_text())
        # The message came again, while the claim still held.
        wait_until(lambda: not queue_length(redis, names.TRANSCRIBE_QUEUE) and not redis.hlen("unacked"), 20)
        assert job.state == "PROGRESS"
        redis.zadd(keys.DUE, {job.id: 0})
        assert Recovery(make_services(fleet.app, fleet.settings)).tick(time.time()) == 1
        ledger = LedgerByHand(redis)
        wait_until(lambda: ledger.job(job.id).state is JobState.RUNNING, 20)
        assert job.state == "PROGRESS"


def test_a_request_that_is_being_planned_is_revoked(redis_url: str, redis: Redis, tmp_path: Path) -> None:
    settings = {"ffmpeg": hanging_once(tmp_path)}
    with running_fleet(["intake"], redis_url, tmp_path, tmp_path, **settings) as fleet:
        job = fleet.submit(file_path=CLIP)
        main = psutil.Process(fleet.processes["intake"].pid)
        wait_until(lambda: decoders(main))
        [(_, decoder)] = decoders(main)
        job.revoke(terminate=True)
        wait_until(lambda: job.state == "REVOKED", 20)
        wait_until(lambda: has_ended(decoder), 20)
        ledger = LedgerByHand(redis)
        wait_until(lambda: redis.ttl(keys.job(job.id)) > 0, 20)  # settled
        time.sleep(2)
        assert ledger.job(job.id).state is JobState.CANCELLED
        assert job.state == "REVOKED"


def test_an_intake_that_waits_for_redis_stops_on_request(
    redis_server: RedisServer, redis_url: str, tmp_path: Path
) -> None:
    with running_fleet(["intake"], redis_url, tmp_path, tmp_path, ffmpeg=hanging_once(tmp_path)) as fleet:
        job = fleet.submit(file_path=CLIP)
        main = psutil.Process(fleet.processes["intake"].pid)
        wait_until(lambda: decoders(main))
        [(_, decoder)] = decoders(main)
        redis_server.kill()
        decoder.kill()  # the file cannot be decoded, which cannot be reported now
        wait_until(lambda: "Connection to broker lost" in fleet.log("intake").read_text())
        main.terminate()
        fleet.processes["intake"].wait(10)  # supervisord's patience
        redis_server.start()
        assert job.state == "PROGRESS"


def test_a_job_for_a_gpu_that_is_being_restarted_waits_for_it(fleet: Services) -> None:
    """Its node says goodbye, and is back in a minute; one that nobody ever had is refused."""
    for host in ("here", "restarted"):
        fleet.fleet.beat(gpu_status(host, heartbeat=time.time()))
    fleet.fleet.leave("restarted.0")
    assert Planner(fleet).take_in("j", {"file_path": str(CLIP), "gpu_ids": ["restarted:0"]})
    with pytest.raises(UnknownGpu, match="here:0, restarted:0"):
        Planner(fleet).take_in("k", {"file_path": str(CLIP), "gpu_ids": ["nobodys:0"]})


def test_a_job_shows_why_it_waits_though_those_before_it_were(fleet: Services) -> None:
    asked = {"file_path": str(CLIP), "gpu_ids": ["here:0"]}
    fleet.fleet.beat(gpu_status("here", heartbeat=0.0))
    fleet.fleet.beat(gpu_status("other", heartbeat=time.time(), slots=4))
    for job in ("first", "second"):
        assert Planner(fleet).take_in(job, asked)
        make_dispatcher(fleet).dispatch()
        assert "no GPU that is up matches" in fleet.app.AsyncResult(job).info["message"]


def test_a_job_that_was_deleted_before_its_message_came_stays_deleted(fleet: Services, redis: Redis) -> None:
    ledger = LedgerByHand(redis)
    ledger.accept("j", request(file_path=str(CLIP)), 1.0)
    ledger.cancel("j", 2.0)
    ledger.settle("j", 3.0)
    with FleetClient(fleet.settings) as client:
        client.delete("j")
        with pytest.raises(Ignore):
            run(tasks.transcribe, "j", file_path=str(CLIP))
        assert redis.keys("celery-task-meta-*") == []
        assert (redis.exists(keys.job("j")), 0 < redis.ttl(keys.deleted("j")) <= 86400) == (0, True)
        client.submit(job="j", file_path=str(CLIP))  # the id is free for whoever wants it
        assert client.record("j").state is JobState.ACCEPTED
        assert redis.exists(keys.deleted("j")) == 0
