"""However a client takes its job back, and at whatever stage, it learns REVOKED and the fleet goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError

from tests.conftest import SPEECH
from tests.support.fleet_processes import HOST, FleetProcesses, running_fleet
from tests.support.gpu_status import gpu_status
from tests.support.ledger_by_hand import result
from tests.support.planned_fleet import fleet_without_nodes
from tests.support.waiting import wait_until
from whisper_fleet.client import FleetClient
from whisper_fleet.legacy import QueueManager, TranscriptionProcessor
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.wire import JobState, SegmentMessage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

CLIP = min(SPEECH.glob("*.wav"))
GPU = f"{HOST}.0"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetProcesses]:
    """Scheduler and intake as processes; the test itself plays the GPU's node."""
    with fleet_without_nodes(tmp_path_factory.mktemp("fleet")) as running:
        yield running


@pytest.fixture
def client(fleet: FleetProcesses) -> Iterator[FleetClient]:
    client = FleetClient(fleet.settings)
    yield client
    client._registry.leave(GPU)
    client._redis.delete(f"gpu.{GPU}", keys.active(GPU))
    client.close()


def join(client: FleetClient, slots: int = 4) -> None:
    """A GPU with free slots comes up."""
    now = time.time()
    client._registry.beat(gpu_status(HOST, device="cpu", uuid="cpu", slots=slots, started=now, heartbeat=now))


def handed_out(fleet: FleetProcesses) -> SegmentMessage:
    """The next segment in the GPU's queue, as its node would draw it."""
    with fleet.app.connection_for_read() as connection, connection.SimpleQueue(f"gpu.{GPU}") as queue:
        message = queue.get(timeout=20)
        message.ack()
        return SegmentMessage(**message.payload[1])


def by_client(client: FleetClient, fleet: FleetProcesses, job: str) -> None:
    assert client.cancel(job)


def by_celery(client: FleetClient, fleet: FleetProcesses, job: str) -> None:
    fleet.app.AsyncResult(job).revoke(terminate=True)


Cancel = Callable[[FleetClient, FleetProcesses, str], None]


@pytest.mark.parametrize("cancel", [by_client, by_celery])
def test_a_waiting_job_is_revoked(client: FleetClient, fleet: FleetProcesses, cancel: Cancel) -> None:
    job = client.submit(file_path=str(CLIP))
    wait_until(lambda: client.record(job).state is JobState.RUNNING)
    cancel(client, fleet, job)
    with pytest.raises(TaskRevokedError):
        client.result(job, timeout=20)
    assert client.record(job).state is JobState.CANCELLED
    wait_until(lambda: client._redis.ttl(keys.job(job)) > 0)  # settled


@pytest.mark.parametrize("cancel", [by_client, by_celery])
def test_a_running_job_is_revoked(client: FleetClient, fleet: FleetProcesses, cancel: Cancel) -> None:
    join(client)
    job = client.submit(file_path=str(CLIP))
    client._ledger.start(handed_out(fleet), GPU, 120.0, time.time())
    cancel(client, fleet, job)
    with pytest.raises(TaskRevokedError):
        client.result(job, timeout=20)
    assert client.record(job).state is JobState.CANCELLED


def test_a_job_that_no_intake_has_drawn_yet_is_revoked(redis_url: str, tmp_path: Path) -> None:
    with running_fleet((), redis_url, tmp_path, tmp_path) as fleet:
        client = FleetClient(fleet.settings)
        job = client.submit(file_path=str(CLIP))
        assert client.cancel(job)
        assert not client.cancel(job)
        fleet.start("intake")
        with pytest.raises(TaskRevokedError):
            fleet.app.AsyncResult(job).get(timeout=60)
        client.close()


def test_the_whole_way_with_a_node_played_by_hand(client: FleetClient, fleet: FleetProcesses) -> None:
    job = client.submit(file_path=str(CLIP), job="my own id")
    wait_until(lambda: client.status(job).message is not None)
    assert client.status(job).message == "no GPU is up: start one, or wait until one is back"
    assert client.submit(file_path=str(CLIP), job="my own id") == job
    join(client)
    message = handed_out(fleet)
    client._ledger.start(message, GPU, 120.0, time.time())
    wait_until(lambda: client.status(job).message is None)
    assert client._ledger.finish(message, result("Hello.", GPU), time.time()).last
    fleet.app.send_task("assemble", task_id=job, queue="assemble")
    transcript = client.result(job, timeout=20)
    assert (transcript.text, transcript.segment_gpus) == ("Hello.", (GPU,))
    wait_until(lambda: client.record(job).state is JobState.DONE)
    assert [progress.stage for progress in client.watch(job)] == ["done"]


def test_the_processor_knows_its_own_tasks(client: FleetClient, fleet: FleetProcesses) -> None:
    join(client, slots=1)
    processor = TranscriptionProcessor(queue_manager=QueueManager(client))
    tasks: list[dict[str, Any]] = [
        {"task_id": f"task_{i}", "file_path": str(CLIP), "model_name": "base", "gpu_ids": None} for i in range(2)
    ]
    assert [processor.add_task_to_concurrent_queue(task) for task in tasks] == ["task_0", "task_1"]
    message = handed_out(fleet)
    client._ledger.start(message, GPU, 120.0, time.time())
    wait_until(lambda: client.record("task_1").state is JobState.RUNNING)
    status = processor.get_concurrent_status()
    assert status == {"max_concurrent_tasks": 1, "active_tasks": 1, "queue_size": 1}
    system = processor.get_system_status()
    assert [gpu["id"] for gpu in system["gpu_status"]] == [GPU]
    assert set(system["active_tasks"]) == {"task_0", "task_1"}
    for task in tasks:
        client.cancel(task["task_id"])
    assert processor.get_concurrent_status()["active_tasks"] == 0
    processor.cleanup_resources()
