"""What becomes of a transcript: files that cannot be written, and jobs that are asked for again, cost nobody a word."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError

from tests.conftest import SPEECH
from tests.support.fleet_processes import FleetProcesses
from tests.support.ledger_by_hand import result
from tests.support.node_by_hand import GPU, node_by_hand
from tests.support.planned_fleet import fleet_without_nodes
from tests.support.process_tree import descendants
from tests.support.waiting import wait_until
from whisper_fleet.client import FleetClient
from whisper_fleet.errors import JobExists
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.wire import JobState

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

CLIP, OTHER = sorted(SPEECH.glob("*.wav"))[:2]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetProcesses]:
    """Scheduler and intake as processes; a thread plays the GPU's node."""
    with fleet_without_nodes(tmp_path_factory.mktemp("fleet")) as running, node_by_hand(running):
        yield running


@pytest.fixture
def client(fleet: FleetProcesses) -> Iterator[FleetClient]:
    with FleetClient(fleet.settings) as client:
        yield client


def send(fleet: FleetProcesses, job: str, **asked: Any) -> Any:
    return fleet.app.send_task("transcribe", kwargs=asked, queue="transcribe", task_id=job)


def test_a_folder_that_disappears_costs_the_files_and_not_the_transcript(
    fleet: FleetProcesses, client: FleetClient, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    request: dict[str, Any] = {"file_path": str(CLIP), "output_path": str(out), "tenant": "waits", "formats": ["txt"]}
    job = client.submit(**request)
    wait_until(lambda: client._ledger.loads([GPU]) == [1])
    out.rmdir()
    out.write_text("a file now")
    [(message, _)] = client._ledger.overdue(GPU, float("inf"))
    client._ledger.start(message, GPU, 120.0, time.time())
    client._actions.finish(message, result("Hello.", GPU), time.time())
    done = client.result(job, timeout=20)
    assert (done.text, done.output_files) == ("Hello.", ())
    assert "cannot be written" in done.output_errors[0]
    wait_until(lambda: client.record(job).state is JobState.DONE)
    out.unlink()
    assert client.submit(job=job, **request) == job  # the same request again: from the stored result, without a GPU
    wait_until((out / f"{CLIP.stem}.txt").exists, 20)
    wait_until(lambda: client.result(job).output_files == (str(out / f"{CLIP.stem}.txt"),))
    assert client.result(job).output_errors == ()


def test_two_inputs_of_one_stem_give_two_transcripts(client: FleetClient, tmp_path: Path) -> None:
    inputs = []
    for day, clip in (("monday", CLIP), ("tuesday", OTHER)):
        (tmp_path / day).mkdir()
        inputs.append(tmp_path / day / "talk.wav")
        inputs[-1].write_bytes(clip.read_bytes())
    jobs = [client.submit(file_path=str(file), output_path=str(tmp_path / "out"), formats=["txt"]) for file in inputs]
    files = [file for job in jobs for file in client.result(job, timeout=20).output_files]
    assert {Path(file).name for file in files} == {"talk.txt", "talk-2.txt"}


def test_an_id_is_one_request(fleet: FleetProcesses, client: FleetClient) -> None:
    first = send(fleet, "mine", file_path=str(CLIP))
    assert first.get(timeout=20)["text"] == CLIP.stem
    with pytest.raises(JobExists, match="another id"):
        client.submit(job="mine", file_path=str(OTHER))
    send(fleet, "mine", file_path=str(OTHER))
    send(fleet, "mine", file_path="relative")
    wait_until(lambda: fleet.log("intake").read_text().count("There is a job mine already") == 2, 20)
    assert fleet.app.AsyncResult("mine").get(timeout=1)["text"] == CLIP.stem
    assert client.record("mine").state is JobState.DONE


def test_another_request_does_not_harm_a_job_that_waits(fleet: FleetProcesses, client: FleetClient) -> None:
    job: Any = fleet.app.send_task(
        "transcribe", kwargs={"file_path": str(CLIP)}, queue="transcribe", task_id="later", countdown=3
    )
    wait_until(lambda: job.state == "PROGRESS", 3)
    assert client.status("later").stage == "scheduled"
    send(fleet, "later", file_path="relative")
    assert job.get(timeout=20)["text"] == CLIP.stem


def test_a_finished_job_that_is_asked_for_again_gives_its_result_again(
    fleet: FleetProcesses, client: FleetClient, tmp_path: Path
) -> None:
    asked = {"file_path": str(CLIP), "output_path": str(tmp_path / "out"), "formats": ["txt"]}
    before = send(fleet, "again", **asked).get(timeout=20)
    wait_until(lambda: client.record("again").state is JobState.DONE)
    (file,) = map(Path, before["output_files"])
    file.unlink()
    send(fleet, "again", **asked)
    wait_until(file.exists, 20)
    assert fleet.app.AsyncResult("again").get(timeout=1) == before


def test_celerys_priority_is_the_jobs_unless_the_request_names_one(fleet: FleetProcesses, client: FleetClient) -> None:
    for job, own, expected in (("p2", {}, 2), ("p7", {"priority": 7}, 7)):
        fleet.app.send_task(
            "transcribe", kwargs={"file_path": str(CLIP), **own}, queue="transcribe", task_id=job, priority=2
        ).get(timeout=20)
        assert client.record(job).request.priority == expected
    send(fleet, "p0", file_path=str(CLIP)).get(timeout=20)
    assert client.record("p0").request.priority == 5


def test_a_scheduled_job_runs_though_the_intake_that_held_it_is_killed(
    fleet: FleetProcesses, client: FleetClient
) -> None:
    job = fleet.app.send_task(
        "transcribe", kwargs={"file_path": str(CLIP)}, queue="transcribe", task_id="held", countdown=8
    )
    wait_until(lambda: client._redis.exists(keys.job("held")), 8)
    assert client.status("held").stage == "scheduled"
    intake = fleet.processes["intake"]
    children = descendants(intake.pid)
    intake.kill()
    intake.wait()
    for child in children:
        child.kill()
    fleet.start("intake")
    assert job.get(timeout=60)["text"] == CLIP.stem


def test_a_scheduled_job_is_cancelled_before_its_time(fleet: FleetProcesses, client: FleetClient) -> None:
    job = fleet.app.send_task(
        "transcribe", kwargs={"file_path": str(CLIP)}, queue="transcribe", task_id="early", countdown=600
    )
    wait_until(lambda: client._redis.exists(keys.job("early")), 20)
    assert client.cancel("early")
    with pytest.raises(TaskRevokedError):
        job.get(timeout=20)


def test_the_assembly_that_an_older_node_asks_for_calls_what_the_client_linked(
    fleet: FleetProcesses, client: FleetClient
) -> None:
    """Nodes of older versions send `assemble` without what follows the job; the ledger has it."""
    linked = fleet.app.signature("linked", immutable=True, queue="linked")
    keywords = {"file_path": str(CLIP), "tenant": "waits"}
    job: Any = fleet.app.send_task("transcribe", kwargs=keywords, queue="transcribe", link=linked)
    wait_until(lambda: client._ledger.loads([GPU]) == [1])
    [(message, _)] = client._ledger.overdue(GPU, float("inf"))
    client._ledger.start(message, GPU, 120.0, time.time())
    assert client._ledger.finish(message, result("Hello.", GPU), time.time())
    fleet.app.send_task("assemble", task_id=job.id, queue="assemble")
    assert job.get(timeout=20)["text"] == "Hello."
    wait_until(lambda: fleet.redis.llen("linked") == 1)


def test_a_job_whose_answer_is_stored_is_settled_without_calling_what_the_client_linked_again(
    fleet: FleetProcesses, client: FleetClient
) -> None:
    """A process was killed after it had stored the answer, and before the ledger knew that."""
    linked: Any = fleet.app.signature("linked", immutable=True, queue="linked again")
    keywords = {"file_path": str(CLIP), "tenant": "waits"}
    job: Any = fleet.app.send_task("transcribe", kwargs=keywords, queue="transcribe", link=linked)
    wait_until(lambda: client._ledger.loads([GPU]) == [1])
    [(message, _)] = client._ledger.overdue(GPU, float("inf"))
    client._ledger.start(message, GPU, 120.0, time.time())
    answer = {"text": "Hello."}
    stored = {"task_id": job.id, "status": "SUCCESS", "result": answer, "traceback": None, "children": []}
    fleet.redis.set(f"celery-task-meta-{job.id}", json.dumps(stored))
    client._actions.finish(message, result("Hello.", GPU), time.time())
    wait_until(lambda: client.record(job.id).state is JobState.DONE)
    assert job.get(timeout=20) == answer
    assert fleet.redis.llen("linked again") == 0
