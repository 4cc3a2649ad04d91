"""The commands and HttpFleetClient through a real HTTP server, on a machine that reaches nothing else of the fleet."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from tests.integration.whisper_fleet.http.conftest import ServedFleet
from tests.integration.whisper_fleet.http.test_server import key_of
from tests.support.http_server import running_server
from tests.support.redis_server import free_port
from tests.support.waiting import wait_until
from whisper_fleet import FleetClient, HttpFleetClient, JobState
from whisper_fleet.cli import connection
from whisper_fleet.cli.main import commands
from whisper_fleet.errors import (
    CorruptAudio,
    EmptyFile,
    FleetError,
    JobExists,
    JobNotFinished,
    JobNotFound,
    RequestError,
    ServerRefused,
    ServerUnreachable,
)
from whisper_fleet.http_client import uploading
from whisper_fleet.shared.http.api_keys import Scope
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

SAMPLES = Path(__file__).parents[4] / "whisper_fleet" / "samples"
CLIP = SAMPLES / "sense_and_sensibility-0880.wav"
SHORT: dict[str, Any] = {"language": "en", "sample_len": 8}
COMMAND_SHORT = ("--language", "en", "--option", "sample_len=8")


@pytest.fixture
def fleet(served: ServedFleet) -> Iterator[HttpFleetClient]:
    with HttpFleetClient(served.url) as client:
        yield client


@pytest.fixture
def call(served: ServedFleet, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that runs a command of a machine that has the server's address and no Redis."""
    settings = Settings(server=served.url, redis_url="redis://127.0.0.1:1/0")
    monkeypatch.setattr(connection, "local_settings", lambda: settings)
    return lambda *arguments: CliRunner().invoke(commands, arguments)


def objects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def uploads_of(served: ServedFleet) -> list[Path]:
    directory = served.fleet.settings.uploads
    return list(directory.iterdir()) if directory.exists() else []


def test_an_upload_is_followed_to_its_transcript_and_leaves_nothing(
    fleet: HttpFleetClient, served: ServedFleet
) -> None:
    others = set(uploads_of(served))  # of other tests
    job = fleet.submit(file_path=CLIP, **SHORT, labels={"project": "a"})
    stages = [progress.stage for progress in fleet.watch(job, interval=0.1)]
    with FleetClient(served.fleet.settings) as direct:
        assert fleet.result(job) == direct.result(job)
    record = fleet.record(job)
    assert (stages[-1], record.state, record.request.file_path) == ("done", JobState.DONE, CLIP.name)
    assert (record.request.options, record.request.labels["project"]) == ({"sample_len": 8}, "a")
    assert [each.job for each in fleet.jobs(states=[JobState.DONE], labels={"project": "a"})] == [job]
    [upload] = set(uploads_of(served)) - others
    assert served.fleet.redis.get(keys.upload(upload.name)) == job.encode()  # it ends with its job
    assert fleet.cancel(job) is False
    fleet.delete(job)
    assert not upload.exists()
    for missing in (fleet.status, fleet.record, fleet.outcome, fleet.result, fleet.cancel, fleet.delete):
        with pytest.raises(JobNotFound):
            missing(job)


def test_a_name_makes_submitting_idempotent_also_when_the_file_is_uploaded_again(
    fleet: HttpFleetClient, served: ServedFleet
) -> None:
    job = fleet.submit(job="talk 1", file_path=CLIP, **SHORT)
    assert fleet.submit(job="talk 1", file_path=CLIP, **SHORT) == job
    with pytest.raises((RequestError, JobExists)):
        fleet.submit(job="talk 1", file_path=CLIP, language="de")
    fleet.result(job)


def test_a_job_that_fails_raises_the_fleets_own_error(fleet: HttpFleetClient, tmp_path: Path) -> None:
    broken, empty = tmp_path / "broken.wav", tmp_path / "empty.wav"
    broken.write_bytes(b"this is no sound")
    empty.touch()
    with pytest.raises((CorruptAudio, RequestError), match="upload"):
        fleet.result(fleet.submit(file_path=broken))
    with pytest.raises(EmptyFile):
        fleet.submit(file_path=empty)
    with pytest.raises(RequestError, match="languag"):
        fleet.submit(file_path=CLIP, language="klingon")


def test_what_has_not_ended_is_told_apart(fleet: HttpFleetClient, served: ServedFleet) -> None:
    os.kill(served.fleet.processes["intake"].pid, signal.SIGSTOP)
    try:
        job = fleet.submit(file_path=CLIP, **SHORT)
        with pytest.raises(JobNotFinished):
            fleet.result(job, timeout=0)
        with pytest.raises(JobNotFinished):
            fleet.delete(job)
        assert fleet.outcome(job) is None
        with pytest.raises(JobNotFinished):
            fleet.retry(job)
    finally:
        os.kill(served.fleet.processes["intake"].pid, signal.SIGCONT)
    assert fleet.cancel(job) is True
    with pytest.raises(FleetError, match="submit its file again"):
        fleet.retry(job)


def test_a_path_of_the_fleets_machines_is_repeated(fleet: HttpFleetClient, tmp_path: Path) -> None:
    copy = tmp_path / "talk.wav"
    copy.write_bytes(CLIP.read_bytes())
    with hidden_here(copy):
        job = fleet.submit(file_path=copy, **SHORT)
    again = fleet.retry(job) if fleet.result(job) else ""
    assert fleet.record(again).request == fleet.record(job).request
    assert fleet.result(again).text == fleet.result(job).text


@contextmanager
def hidden_here(path: Path) -> Iterator[None]:
    """Hide a file from this process, so that it seems to be only on the fleet's machines."""
    exists = Path.exists
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "exists", lambda self, **options: self != path and exists(self, **options))
        yield


def test_files_are_uploaded_and_transcripts_written_here(call: Any, tmp_path: Path) -> None:
    talks, out = tmp_path / "talks", tmp_path / "out"
    (talks / "day").mkdir(parents=True)
    (talks / "day" / "talk.wav").write_bytes(CLIP.read_bytes())
    arguments = ("submit", str(talks), *COMMAND_SHORT, "--output-dir", str(out), "--format", "srt", "--format", "txt")
    refused = call(*arguments)
    assert (refused.exit_code, "--wait" in refused.stderr) == (2, True)
    done = call(*arguments, "--wait", "--json")
    assert done.exit_code == 0, done.output
    [ended] = objects(done)
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("[!.]*") if path.is_file())
    assert written == ["day/talk.srt", "day/talk.txt"]
    assert sorted(ended["result"]["output_files"]) == [str(out / name) for name in written]
    again = call(*arguments, "--wait", "--skip-existing")
    assert (again.exit_code, "Skipped 1 files" in again.stderr) == (0, True)
    job = ended["job"]
    text = call("result", job, "--format", "txt").stdout
    assert text.strip() == (out / "day" / "talk.txt").read_text().strip()
    assert call("result", job, "--output-dir", str(tmp_path / "more"), "--format", "vtt").exit_code == 0
    assert (tmp_path / "more" / "talk.vtt").exists()
    assert objects(call("status", job, "--json"))[0]["state"] == "done"
    assert job in call("list", "--state", "done").stdout
    assert call("wait", job).exit_code == 0
    assert call("cancel", job).stdout == "it had ended before\n"
    assert call("delete", job).stdout == "deleted\n"
    assert [call(command, job).exit_code for command in ("cancel", "delete")] == [4, 4]
    assert all(isinstance(call(command, job).exception, JobNotFound) for command in ("status", "result", "wait"))


def test_a_file_that_cannot_be_uploaded_ends_the_command_before_anything_is_sent(call: Any, tmp_path: Path) -> None:
    answer = call("submit", str(tmp_path / "missing.wav"))
    assert answer.exit_code == 1 and "Nothing was sent" in answer.stderr
    assert objects(call("submit", "--no-check", "--json", *COMMAND_SHORT, str(CLIP)))[0]["job"]


def test_an_upload_goes_on_after_the_server_is_killed(
    served: ServedFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file comes through a slow pipe, so that the server dies in the middle of it."""
    file = tmp_path / "large.wav"
    file.write_bytes(CLIP.read_bytes() + bytes(12 * 2**20))
    port, starts, sent = free_port(), list[int](), list[int]()
    pieces = uploading._pieces
    killed, before = threading.Event(), uploads_of(served)

    def watched(path: Path, offset: int, size: int) -> Iterator[bytes]:
        starts.append(offset)
        for number, piece in enumerate(pieces(path, offset, size)):
            sent.append(len(piece))
            yield piece
            if number == 4 and not killed.is_set():
                wait_until(lambda: any(upload.stat().st_size for upload in uploads_of(served) if upload not in before))
                killed.set()
                process.kill()

    monkeypatch.setattr(uploading, "_pieces", watched)
    with http_process(served, port) as process:
        pass
    with http_process(served, port) as process, HttpFleetClient(f"http://127.0.0.1:{port}") as client:

        def restart() -> None:
            killed.wait(60)
            process.wait()
            again.append(started(served, port))

        again = list[subprocess.Popen[bytes]]()
        thread = threading.Thread(target=restart)
        thread.start()
        try:
            job = client.submit(file_path=file, **SHORT)
            assert client.result(job).duration_s
        finally:
            thread.join()
            for other in again:
                other.terminate()
                other.wait()
    assert starts[0] == 0 and 0 < starts[-1] < file.stat().st_size
    assert sum(sent) < 2 * file.stat().st_size  # it was not sent again from its beginning


@contextmanager
def http_process(served: ServedFleet, port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = started(served, port)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()


def started(served: ServedFleet, port: int) -> subprocess.Popen[bytes]:
    """Start the product's own process, and wait until it accepts connections."""
    command = [sys.executable, "-m", "whisper_fleet.http", str(port)]
    with served.fleet.log("http").open("ab") as out:
        process = subprocess.Popen(command, env=served.fleet.environment, stdout=out, stderr=out)
    wait_until(lambda: accepts(port) or process.poll() is not None, 60, interval=0.1)
    assert process.poll() is None
    return process


def accepts(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def test_keys_decide_and_are_not_in_the_process_list(
    redis: Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(redis_url=redis_url, var_dir=tmp_path / "var", model_dir=tmp_path)
    reader, submitter = (key_of(redis, scope)["authorization"][7:] for scope in (Scope.READ, Scope.SUBMIT))
    monkeypatch.setenv("WHISPER_FLEET_REDIS_URL", "redis://127.0.0.1:1/0")
    with running_server(settings) as url:
        file = tmp_path / "config.toml"
        file.write_text(f'server = "{url}"\nkey = "{reader}"\n')
        monkeypatch.setenv("WHISPER_FLEET_CONFIG", str(file))
        assert run("list", "--json") == (0, "")
        code, shown = run("config", "show")
        assert code == 0 and reader not in shown and "key = " in shown
        monkeypatch.setenv("WHISPER_FLEET_KEY", submitter)  # the environment counts more than the file
        assert run("list") == (5, "")
        assert run("list", "--key", reader) == (0, "")
        with HttpFleetClient(url, key=submitter) as client, pytest.raises(ServerRefused, match="lacks the scope read"):
            list(client.jobs())
        with HttpFleetClient(url, key="wf_wrong") as client, pytest.raises(ServerRefused, match="not valid"):
            client.submit(file_path=CLIP)
    assert run("list") == (5, "")


def run(*arguments: str) -> tuple[int, str]:
    """Run a command in a process of its own, because settings are read once; return its exit code and its output."""
    code = "from whisper_fleet.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, timeout=60)
    return done.returncode, done.stdout


def test_a_server_that_is_none_is_an_error_at_once() -> None:
    with HttpFleetClient("http://127.0.0.1:1") as client, pytest.raises(ServerUnreachable):
        client.ping()
    for wrong in ("ftp://example.org", "example.org", "http://", "http://x:99999"):
        with pytest.raises(FleetError, match="not like http"):
            HttpFleetClient(wrong)
