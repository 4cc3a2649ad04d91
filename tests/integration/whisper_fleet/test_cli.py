"""What `whisper-fleet` prints about jobs with odd names, and about those that have expired in part."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from redis import Redis
from rich.console import Console

from tests.support.ledger_by_hand import LedgerByHand, request, result
from whisper_fleet.cli import jobs
from whisper_fleet.cli.doctor import redis_findings
from whisper_fleet.cli.main import main
from whisper_fleet.cli.watching import watch
from whisper_fleet.client import FleetClient
from whisper_fleet.outcome import Outcome
from whisper_fleet.shared.errors import JobNotFound
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobProgress

pytestmark = pytest.mark.integration

ODD = "My talk [dQw4w9WgXcQ] [b].mp3"


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = Settings(redis_url=redis_url, var_dir=tmp_path)
    monkeypatch.setattr(jobs, "local_settings", lambda: settings)
    monkeypatch.setenv("COLUMNS", "200")
    return settings


def status(*arguments: str) -> str:
    answer = CliRunner().invoke(jobs.status, arguments, catch_exceptions=False)
    assert answer.exit_code == 0
    return answer.output


def test_the_list_of_jobs_leaves_out_one_that_was_forgotten_just_now(settings: Settings, redis: Redis) -> None:
    ledger = LedgerByHand(redis)
    for job in ("forgotten", "known"):
        ledger.accept(job, request(), 1.0)
    redis.delete(keys.job("forgotten"))
    assert "known" in status() and "forgotten" not in status()


def test_the_doctor_sees_that_redis_is_full(settings: Settings, redis: Redis) -> None:
    assert not [finding for finding in redis_findings(settings) if finding.kind == "bad"]
    redis.config_set("maxmemory", "1")
    assert [finding.kind for finding in redis_findings(settings) if "is full" in finding.text] == ["bad"]


def test_a_redis_that_refuses_is_not_taken_for_one_that_is_away(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis.config_set("maxmemory", "1")
    monkeypatch.setattr("sys.argv", ["whisper-fleet", "submit", "/a.wav"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit, match=r"answers, but refuses .*OOM"):
        main()


def test_names_and_errors_with_brackets_are_printed_as_they_are(settings: Settings, redis: Redis) -> None:
    ledger = LedgerByHand(redis)
    ledger.accept("j", request(file_path=f"/in/{ODD}"), 1.0)
    assert ODD in status()
    ledger.fail("j", "FileMissing", f"/in/{ODD} does not exist", 2.0)
    assert status("j").count(ODD) == 2
    ledger.accept("k", request(file_path="/in/a[/b].mp3"), 1.0)
    assert "/in/a[/b].mp3" in status("k")


@pytest.mark.parametrize("option", ["file_path=/b.wav", "job=mine"])
def test_an_option_does_not_stand_in_for_the_files(settings: Settings, redis: Redis, option: str) -> None:
    answer = CliRunner().invoke(jobs.submit, ["/a.wav", "/b.wav", "--option", option])
    assert answer.exit_code == 2 and "FILES" in answer.output
    assert LedgerByHand(redis).jobs() == []


def options_of(redis: Redis, *spelled: str) -> dict[str, Any]:
    """Whisper's options in the ledger after they were given on the command line."""
    given = [part for option in spelled for part in ("--option", option)]
    answer = CliRunner().invoke(jobs.submit, ["/a.wav", *given], catch_exceptions=False)
    assert answer.exit_code == 0
    ledger = LedgerByHand(redis)
    (job,) = ledger.jobs()
    return ledger.job(job).request.options


def test_an_option_that_is_a_text_may_look_like_a_number(settings: Settings, redis: Redis) -> None:
    asked = {"suppress_tokens": "-1", "initial_prompt": "1984", "temperature": 0.0}
    assert options_of(redis, "suppress_tokens=-1", "initial_prompt=1984", "temperature=0") == asked


def test_a_threshold_can_be_switched_off(settings: Settings, redis: Redis) -> None:
    assert options_of(redis, "no_speech_threshold=null") == {"no_speech_threshold": None}


class Done:
    """A client whose job shows progress once, and then is done."""

    def __init__(self) -> None:
        self._outcomes = iter([None, Outcome(exception=RuntimeError("x"))])

    def outcome(self, job: str) -> Outcome | None:
        return next(self._outcomes)

    def status(self, job: str) -> JobProgress:
        return JobProgress(stage="queued", message=f"[/b] {ODD}")


def test_the_progress_of_a_file_with_brackets_is_shown_under_its_name() -> None:
    console = Console(file=io.StringIO(), width=200)
    outcomes = watch(cast(FleetClient, Done()), {"j": ODD}, console)
    assert outcomes["j"].error == "x"
    assert ODD in cast(Any, console.file).getvalue()


def test_a_transcript_that_is_gone_is_not_waited_for(settings: Settings, redis: Redis) -> None:
    ledger = LedgerByHand(redis)
    ledger.finish(ledger.running(ledger.planned("j")), result(), 4.0)
    ledger.settle("j", 5.0)
    client = FleetClient(settings)
    with pytest.raises(JobNotFound, match="forgotten"):
        client.result("j", timeout=1)
    with pytest.raises(JobNotFound, match="forgotten"):
        list(client.watch("j"))
    with pytest.raises(JobNotFound, match="forgotten"):
        client.outcome("j")
    client.close()


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.0, []), (-60.0, ["60 s behind that"]), (60.0, ["60 s ahead of that"])]
)
def test_the_doctor_sees_a_clock_that_is_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, seconds: float, expected: list[str]
) -> None:
    monkeypatch.setattr(Redis, "time", lambda _: (round(time.time() - seconds), 0))
    found = [finding for finding in redis_findings(settings) if "clock" in finding.text]
    assert all(words in finding.text for words, finding in zip(expected, found, strict=True))
    assert all(finding.kind == "bad" for finding in found)
