"""A fleet, its clients and its metrics work with the rights of deploy/redis/users.py, over TLS, and with no others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from tests.conftest import SPEECH
from tests.support.fleet_processes import ALL, FleetProcesses
from tests.support.guarded_redis import guarded_redis
from tests.support.redis_server import RedisServer, free_port
from tests.support.service import run_workflows, service_worker
from tests.support.waiting import wait_until
from whisper_fleet.cli.machine.doctor import redis_findings
from whisper_fleet.deploy.redis.rights import missing_rights
from whisper_fleet.deploy.redis.users import CHORDS, CLIENT, FLEET, METRICS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

#: Commands of processes that stop, of long lists, and of the first connection, which no job needs.
_RARE = {
    "watch",
    "unwatch",
    "incrby",
    "hkeys",
    "auth",
    "select",
    "hlen",
    "info",
    "eval",
    "unsubscribe",
    "punsubscribe",
    "srem",
    "zrevrange",
    "zremrangebyscore",
    "rpush",
}
CLIP = min(SPEECH.glob("*.wav"), key=lambda clip: clip.stat().st_size)


@dataclass
class GuardedFleet:
    """A fleet whose Redis lets in only the users of the fleet, over TLS, and an administrator."""

    processes: FleetProcesses
    admin: Redis
    admin_url: str
    urls: dict[str, str]
    flower: str  # its address
    client: Celery
    model: Path
    has_read_rights: bool  # whether this Redis knows rights only to read

    def submit(self, **request: Any) -> Any:
        return self.processes.submit(model_name=self.model, **request)

    def denials(self) -> list[dict[str, Any]]:
        """Return what Redis denied, except the naming of connections, which redis-py tries and does without."""
        denied: list[dict[str, Any]] = cast("Any", self.admin.acl_log())
        return [entry for entry in denied if entry["object"] != "client"]

    def commands_used(self) -> set[str]:
        """Return the commands that ran since the start, also inside scripts."""
        stats: dict[str, Any] = self.admin.info("commandstats")
        return {name.removeprefix("cmdstat_").partition("|")[0] for name in stats}


@contextmanager
def guarded(server: RedisServer, directory: Path, model: Path) -> Iterator[GuardedFleet]:
    with ExitStack() as stack:
        redis = stack.enter_context(guarded_redis(server, directory))
        urls, admin = redis.urls, redis.admin
        settings = {"default_precision": "float32", "default_model": str(model)}
        processes = FleetProcesses(urls[FLEET.name], directory, model.parent, **settings)
        stack.callback(processes.stop)
        client = Celery("client", broker=urls[CLIENT.name], backend=urls[CLIENT.name], set_as_current=False)
        stack.callback(client.close)
        processes.app = client
        processes.redis = admin
        processes.start(*ALL)
        flower = stack.enter_context(_flower(urls[METRICS.name], directory))
        yield GuardedFleet(processes, admin, server.url, urls, flower, client, model, redis.has_read_rights)


@contextmanager
def _flower(redis_url: str, directory: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "celery", "-A", "whisper_fleet.scheduler.monitoring.flower_app", "flower"]
    environment = os.environ | {"WHISPER_FLEET_REDIS_URL": redis_url, "FLOWER_UNAUTHENTICATED_API": "true"}
    with (directory / "flower.log").open("wb") as out:
        process = subprocess.Popen([*command, f"--port={port}"], env=environment, stdout=out, stderr=out)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[GuardedFleet]:
    directory = tmp_path_factory.mktemp("guarded")
    server = RedisServer(directory)
    try:
        server.start()
        with guarded(server, directory, tiny_model) as running:
            yield running
    finally:
        server.kill()


def read(fleet: GuardedFleet, path: str) -> str:
    """Return a page of Flower; empty while it cannot be read."""
    try:
        with urllib.request.urlopen(f"{fleet.flower}/{path}", timeout=10) as page:
            return str(page.read().decode())
    except OSError:
        return ""


def test_every_way_through_the_fleet_works_with_these_rights_and_needs_all_of_them(
    fleet: GuardedFleet, tmp_path: Path
) -> None:
    done = fleet.submit(file_path=CLIP, output_path=tmp_path, temperature=0.0)
    assert done.get(timeout=90)["segments"] is not None
    with service_worker(sys.executable, fleet.admin_url, tmp_path):
        quick = {"temperature": 0.0, "sample_len": 4}
        given = run_workflows(sys.executable, fleet.urls[CHORDS.name], CLIP, "link", "in_chord", options=quick)
    wrong = fleet.submit(file_path=CLIP, speed="twice")
    with pytest.raises(Exception, match="speed"):
        wrong.get(timeout=30)
    unknown = fleet.client.send_task("no such task", queue="transcribe")
    with pytest.raises(Exception, match="there is no task"):
        unknown.get(timeout=60)
    cancelled = [fleet.submit(file_path=CLIP) for _ in range(8)][-1]
    wait_until(lambda: cancelled.state != "PENDING", 30)
    cancelled.revoke(terminate=True)
    wait_until(lambda: cancelled.state == "REVOKED", 30)
    wait_until(lambda: "redis_up 1" in read(fleet, "metrics"), 60, interval=0.5)
    wait_until(lambda: "gpu0@testhost" in read(fleet, "api/workers?refresh=1"), 60, interval=1.0)
    assert fleet.denials() == []
    assert len(given["in_chord"]) == 3
    unused = {command.partition("|")[0] for command in FLEET.commands} - fleet.commands_used()
    assert unused <= _RARE


def test_a_client_can_neither_read_the_ledger_nor_stop_the_fleet(fleet: GuardedFleet) -> None:
    with Redis.from_url(fleet.urls[CLIENT.name]) as client:
        reads = (("KEYS", "*"), ("GET", "fleet:gpu:testhost.0"))
        for command in (*reads, ("FLUSHALL",), ("DEL", "transcribe"), ("RPOP", "transcribe")):
            with pytest.raises(NoPermissionError):
                cast("Any", client).execute_command(*command)


def test_the_metrics_can_neither_write_the_ledger_nor_take_messages(fleet: GuardedFleet) -> None:
    with Redis.from_url(fleet.urls[METRICS.name]) as metrics:
        command = cast("Any", metrics).execute_command
        for words in (("LPUSH", "transcribe", "x"), ("RPOP", "transcribe"), ("HSET", "unacked", "a", "b")):
            with pytest.raises(NoPermissionError):
                command(*words)
        if fleet.has_read_rights:
            for words in (
                ("SET", "fleet:probe", "x"),
                ("DEL", "fleet:jobs"),
                ("SADD", "_kombu.binding.transcribe", "x"),
            ):
                with pytest.raises(NoPermissionError):
                    command(*words)


def test_doctor_names_a_right_that_is_missing(fleet: GuardedFleet) -> None:
    with Redis.from_url(fleet.urls[FLEET.name]) as redis:
        assert missing_rights(redis, FLEET) == []
        settings = fleet.processes.settings
        assert not any("denies" in finding.text for finding in redis_findings(settings))
        command = cast("Any", fleet.admin).execute_command
        command("ACL", "SETUSER", FLEET.name, "-zincrby", "-blmove")
        try:
            assert sorted(missing_rights(redis, FLEET)) == ["blmove", "zincrby"]
            assert any("zincrby" in finding.text for finding in redis_findings(settings))
        finally:
            command("ACL", "SETUSER", FLEET.name, "+zincrby", "+blmove")
    with Redis.from_url(fleet.urls[CLIENT.name]) as redis:
        assert missing_rights(redis, FLEET)
        assert missing_rights(redis, CLIENT) == []


def test_a_right_that_is_removed_is_named_and_work_goes_on_when_it_is_back(fleet: GuardedFleet) -> None:
    command = cast("Any", fleet.admin).execute_command
    command("ACL", "SETUSER", FLEET.name, "-lpush")
    try:
        job = fleet.submit(file_path=CLIP, temperature=0.0, sample_len=4)
        logs = [fleet.processes.log(name) for name in ALL]
        named = re.compile(r"permissions to run the 'lpush' command.*`whisper-fleet doctor`")
        wait_until(lambda: any(named.search(log.read_text()) for log in logs), interval=0.2)
    finally:
        command("ACL", "SETUSER", FLEET.name, "+lpush")
    assert job.get(timeout=90)["segments"] is not None


def test_a_password_is_replaced_while_the_fleet_works(fleet: GuardedFleet) -> None:
    command, processes = cast("Any", fleet.admin).execute_command, fleet.processes
    old = fleet.urls[FLEET.name]
    command("ACL", "SETUSER", FLEET.name, ">the new one")
    processes.environment["WHISPER_FLEET_REDIS_URL"] = old.replace("of%20fleet@", "the%20new%20one@")
    for name in ALL:
        job = fleet.submit(file_path=CLIP, temperature=0.0, sample_len=4)
        processes.processes[name].terminate()
        processes.processes[name].wait(60)
        processes.start(name)
        assert job.get(timeout=90)["segments"] is not None
    command("ACL", "SETUSER", FLEET.name, "<of fleet")
    with Redis.from_url(old) as refused, pytest.raises(AuthenticationError):
        refused.ping()
    command("CLIENT", "KILL", "USER", FLEET.name)  # so that every process must log in again
    assert fleet.submit(file_path=CLIP, temperature=0.0, sample_len=4).get(timeout=90)["segments"] is not None
