"""The commands that find jobs, end them, repeat them and read them, for people and for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from tests.support.ledger_by_hand import LedgerByHand, request, result
from tests.support.results_by_hand import RESULT, publish_result
from whisper_fleet.cli import connection
from whisper_fleet.cli.main import commands
from whisper_fleet.client import FleetClient
from whisper_fleet.errors import JobNotFinished, JobNotFound
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobState

pytestmark = pytest.mark.integration

SEGMENT = {
    **{"id": 0, "seek": 0, "start": 0.0, "end": 2.5, "text": " One word.", "tokens": [1], "temperature": 0.0},
    **{"avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.1},
}


@pytest.fixture(autouse=True)
def settings(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = Settings(redis_url=redis_url, var_dir=tmp_path)
    monkeypatch.setattr(connection, "local_settings", lambda: settings)
    monkeypatch.setenv("COLUMNS", "200")
    return settings


@pytest.fixture
def client(settings: Settings) -> Iterator[FleetClient]:
    with FleetClient(settings) as client:
        yield client


def call(*arguments: str) -> Result:
    return CliRunner().invoke(commands, arguments)


def lines(*arguments: str) -> list[dict[str, Any]]:
    """Return the JSON objects that a command prints."""
    return [json.loads(line) for line in call(*arguments, "--json").stdout.splitlines()]


def done(redis: Redis, job: str = "done") -> LedgerByHand:
    """A job that has ended with a transcript."""
    ledger = LedgerByHand(redis)
    ledger.finish(ledger.running(ledger.planned(job)), result(), 4.0)
    ledger.settle(job, 5.0)
    publish_result(redis, job, "SUCCESS", RESULT | {"text": " One word.", "segments": [SEGMENT]})
    return ledger


def test_jobs_are_listed_by_state_label_and_age(redis: Redis) -> None:
    ledger, now = LedgerByHand(redis), time.time()
    ledger.accept("old", request(labels={"project": "a"}), now - 7200)
    ledger.accept("new", request(labels={"project": "a", "by": "me"}), now)
    ledger.accept("ended", request(), now - 60)
    ledger.fail("ended", "FileMissing", "it is missing", now)
    assert [job["job"] for job in lines("list")] == ["new", "ended", "old"]
    assert [job["job"] for job in lines("list", "--state", "failed")] == ["ended"]
    assert [job["job"] for job in lines("list", "--label", "project=a")] == ["new", "old"]
    assert [job["job"] for job in lines("list", "--label", "project=a", "--label", "by=me")] == ["new"]
    assert [job["job"] for job in lines("list", "--since", "1h")] == ["new", "ended"]
    limited = call("list", "--limit", "1")
    assert (limited.stdout.split()[-1], "There are more" in limited.stderr) == ("new", True)


@pytest.mark.parametrize("wrong", [("--since", "yesterday"), ("--label", "project"), ("--state", "lost")])
def test_a_filter_that_cannot_be_read_is_wrong_usage(wrong: tuple[str, str]) -> None:
    assert call("list", *wrong).exit_code == 2


def test_a_long_list_is_read_in_pages_and_shows_no_job_twice(redis: Redis, client: FleetClient) -> None:
    ledger = LedgerByHand(redis)
    for number in range(250):
        ledger.accept(f"j{number}", request(), 1.0 + number)
    listed = list[str]()
    for record in client.jobs():
        if not listed:
            ledger.accept("late", request(), 1000.0)
        listed.append(record.job)
    assert listed == [f"j{number}" for number in range(249, -1, -1)]


def test_a_transcript_is_printed_in_one_format(redis: Redis) -> None:
    done(redis)
    assert call("result", "done", "--format", "srt").stdout == "1\n00:00:00,000 --> 00:00:02,500\nOne word.\n\n"
    assert call("result", "done", "--format", "txt").stdout == "One word.\n"
    assert call("result", "done", "--format", "txt", "--format", "srt").exit_code == 2


def test_a_job_that_has_ended_is_deleted_and_one_that_has_not_is_kept(redis: Redis, client: FleetClient) -> None:
    ledger = done(redis)
    ledger.planned("waits")
    assert lines("delete", "done") == [{"job": "done", "deleted": True}]
    assert [key for key in redis.keys("*") if b"done" in key] == []
    assert ledger.jobs() == ["waits"]
    with pytest.raises(JobNotFound):
        client.delete("done")
    with pytest.raises(JobNotFinished):
        client.delete("waits")
    assert client.record("waits").state is JobState.RUNNING


def test_a_job_whose_client_has_no_answer_yet_is_not_deleted(redis: Redis, client: FleetClient) -> None:
    ledger = LedgerByHand(redis)
    ledger.accept("j", request(), 1.0)
    ledger.fail("j", "FileMissing", "it is missing", 2.0)
    with pytest.raises(JobNotFinished):
        client.delete("j")
    ledger.settle("j", 3.0)
    client.delete("j")
    assert redis.exists(keys.job("j")) == 0


def test_a_job_is_repeated_with_the_same_request_under_a_new_id(redis: Redis, client: FleetClient) -> None:
    done(redis)
    (retried,) = lines("retry", "done")
    again = client.record(retried["retried_as"])
    assert again.job != "done" and again.request == client.record("done").request
    assert call("retry", again.job).exit_code == 3


def test_one_job_that_is_unknown_does_not_keep_the_others_from_it(redis: Redis) -> None:
    ledger = LedgerByHand(redis)
    for job in ("a", "b"):
        ledger.accept(job, request(), 1.0)
    answer = call("cancel", "a", "unknown", "b")
    assert (answer.exit_code, answer.stdout) == (4, "a  cancelled\nb  cancelled\n")
    assert answer.stderr.startswith("JobNotFound: No job unknown")


def test_wait_prints_the_transcripts_of_jobs_that_have_ended(redis: Redis) -> None:
    done(redis)
    answer = call("wait", "done")
    assert (answer.exit_code, "One word." in answer.stdout) == (0, True)
    (ended,) = lines("wait", "done")
    assert (ended["state"], ended["result"]["text"]) == ("done", " One word.")


def test_wait_gives_up_after_its_timeout_and_names_the_jobs_that_continue(redis: Redis) -> None:
    LedgerByHand(redis).planned("waits")
    answer = call("wait", "waits", "--timeout", "0.1")
    assert (answer.exit_code, answer.stdout, "waits" in answer.stderr) == (3, "", True)


def test_files_that_have_a_transcript_are_skipped(redis: Redis, tmp_path: Path, client: FleetClient) -> None:
    talks = tmp_path / "talks"
    talks.mkdir()
    for name in ("a.mp3", "b.mp3", "a.srt"):
        (talks / name).write_bytes(b"x")
    answer = call("submit", str(talks), "--next-to-input", "--format", "srt", "--skip-existing")
    assert (answer.exit_code, "Skipped 1 files" in answer.stderr) == (0, True)
    (job,) = client.jobs()
    assert (job.request.file_path, job.request.output_path) == (str(talks / "b.mp3"), str(talks))


def test_files_are_named_by_a_list_on_standard_input(redis: Redis, client: FleetClient) -> None:
    arguments = ["submit", "--from-file", "-", "--no-check", "--json"]
    answer = CliRunner().invoke(commands, arguments, input="/in/a.mp3\n/in/b.mp3\n")
    printed = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [job["file"] for job in printed] == ["/in/a.mp3", "/in/b.mp3"]
    assert {job["job"] for job in printed} == {record.job for record in client.jobs()}


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("/a.mp3", "--skip-existing"),
        ("/a.mp3", "--next-to-input", "--output-dir", "/out"),
        ("https://example.com/a.mp3", "--next-to-input"),
        ("--watch", "/", "--wait"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(redis: Redis, arguments: tuple[str, ...]) -> None:
    answer = call("submit", "--no-check", *arguments)
    assert answer.exit_code == 2 and LedgerByHand(redis).jobs() == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_is_for_the_command_as_it_is_installed(shell: str) -> None:
    assert "_WHISPER_FLEET_COMPLETE" in call("completion", shell).stdout


def test_without_a_gpu_the_self_test_says_what_to_start(redis: Redis) -> None:
    steps = lines("selftest")
    assert [step["step"] for step in steps] == ["Redis", "GPUs"]
    assert "whisper-fleet up" in steps[-1]["advice"]
    assert call("selftest").exit_code == 1
