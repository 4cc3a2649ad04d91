"""What `whisper-fleet` prints about jobs with odd names, and about those that have expired in part."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rich.console import Console

from tests.support.ledger_by_hand import LedgerByHand, request, result
from tests.support.results_by_hand import RESULT, failure, publish_result
from whisper_fleet.cli import connection
from whisper_fleet.cli.jobs import listing, waiting
from whisper_fleet.cli.jobs import result as results
from whisper_fleet.cli.jobs import submit as submitting
from whisper_fleet.cli.machine.doctor import redis_findings
from whisper_fleet.cli.main import main
from whisper_fleet.cli.terminal.watching import watch
from whisper_fleet.client import FleetClient
from whisper_fleet.outcome import Outcome
from whisper_fleet.shared.errors import FileMissing, JobNotFinished, JobNotFound
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobProgress

pytestmark = pytest.mark.integration

ODD = "My talk [dQw4w9WgXcQ] [b].mp3"


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = Settings(redis_url=redis_url, var_dir=tmp_path)
    monkeypatch.setattr(connection, "local_settings", lambda: settings)
    monkeypatch.setattr(submitting, "local_settings", lambda: settings)
    monkeypatch.setenv("COLUMNS", "200")
    return settings


def store_success(redis: Redis, job: str, text: str) -> None:
    publish_result(redis, job, "SUCCESS", RESULT | {"text": text})


def store_failure(redis: Redis, job: str, message: str) -> None:
    publish_result(redis, job, "FAILURE", failure("FileMissing", message))


def status(*arguments: str) -> str:
    answer = CliRunner().invoke(listing.status, arguments, catch_exceptions=False)
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
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    redis.config_set("maxmemory", "1")
    monkeypatch.setattr("sys.argv", ["whisper-fleet", "submit", "--no-check", "/a.wav"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        main()
    error = capsys.readouterr().err
    assert (ended.value.code, "answers, but refuses" in error, "OOM" in error) == (5, True, True)


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
    answer = CliRunner().invoke(submitting.submit, ["--no-check", "/a.wav", "/b.wav", "--option", option])
    assert answer.exit_code == 2 and "FILES" in answer.output
    assert LedgerByHand(redis).jobs() == []


def options_of(redis: Redis, *spelled: str) -> dict[str, Any]:
    """Whisper's options in the ledger after they were given on the command line."""
    given = [part for option in spelled for part in ("--option", option)]
    answer = CliRunner().invoke(submitting.submit, ["--no-check", "/a.wav", *given], catch_exceptions=False)
    assert answer.exit_code == 0
    ledger = LedgerByHand(redis)
    (job,) = ledger.jobs()
    return ledger.job(job).request.options


def test_an_option_that_is_a_text_may_look_like_a_number(settings: Settings, redis: Redis) -> None:
    asked = {"suppress_tokens": "-1", "initial_prompt": "1984", "temperature": 0.0}
    assert options_of(redis, "suppress_tokens=-1", "initial_prompt=1984", "temperature=0") == asked


def test_a_threshold_can_be_switched_off(settings: Settings, redis: Redis) -> None:
    assert options_of(redis, "no_speech_threshold=null") == {"no_speech_threshold": None}


def test_no_control_character_of_a_client_reaches_the_terminal(settings: Settings, redis: Redis) -> None:
    ledger, hostile = LedgerByHand(redis), "\x1b[2J\x9b31m\u202e\u200b\n"
    for job in (f"waits{hostile}", f"failed{hostile}"):
        ledger.accept(job, request(file_path=f"/in/{hostile}.wav"), 1.0)
    ledger.fail(f"failed{hostile}", "FileMissing", f"/in/{hostile} does not exist", 2.0)
    outputs = [
        CliRunner().invoke(command, arguments).output_bytes
        for command, arguments in (
            (listing.status, []),
            (listing.status, [f"waits{hostile}"]),
            (listing.status, [f"failed{hostile}"]),
        )
    ]
    with pytest.raises(JobNotFinished) as not_finished:
        CliRunner().invoke(results.result, [f"waits{hostile}"], catch_exceptions=False)
    store_failure(redis, f"failed{hostile}", f"/in/{hostile} does not exist")
    outputs += [CliRunner().invoke(results.result, [f"failed{hostile}"]).output_bytes, str(not_finished.value).encode()]
    for output in outputs:
        assert not set(output.decode()) & set("\x1b\x9b\u202e\u200b") and b"\\x1b[2J\\x9b31m" in output
    assert outputs[0].count(b"\n") == 2


def test_a_transcript_cannot_control_the_terminal(settings: Settings, redis: Redis) -> None:
    ledger, text = LedgerByHand(redis), "one\x1b[2J\ntwo\u202e"
    ledger.accept("j", request(), 1.0)
    store_success(redis, "j", text)
    assert CliRunner().invoke(results.result, ["j"]).output == "one\\x1b[2J\ntwo\\u202e\n"
    as_json = CliRunner().invoke(results.result, ["j", "--json"]).output
    assert json.loads(as_json)["text"] == text and not set(as_json) & set("\x1b\u202e")


def test_running_jobs_are_listed_first_even_if_they_are_old(settings: Settings, redis: Redis) -> None:
    ledger = LedgerByHand(redis)
    ledger.running(ledger.planned("old"))
    for number in range(30):
        ledger.accept(f"new{number}", request(), time.time() + number)
    listed = [line.split()[-1] for line in status().splitlines()]
    assert listed == ["old", *(f"new{number}" for number in range(29, 9, -1))]


def test_one_job_is_shown_with_its_whole_path_and_why_it_waits(settings: Settings, redis: Redis) -> None:
    ledger = LedgerByHand(redis)
    path = "/in/" + 30 * "a/long/path/" + "talk.mp3"
    ledger.accept("j", request(file_path=path), 1.0)
    assert status("j").splitlines() == [f"file   {path}", "job    j", "state  queued"]


def test_a_file_that_is_not_here_is_not_sent_to_a_fleet_on_this_machine(
    settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    here = tmp_path / "here.wav"
    here.write_bytes(b"RIFF")
    with pytest.raises(FileMissing):
        CliRunner().invoke(submitting.submit, [str(here), str(tmp_path / "missing.wav")], catch_exceptions=False)
    assert LedgerByHand(redis).jobs() == []
    assert CliRunner().invoke(submitting.submit, [str(here)]).exit_code == 0
    assert len(LedgerByHand(redis).jobs()) == 1


def test_a_file_that_is_not_here_may_be_on_the_machines_of_a_fleet_elsewhere(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "is_on_this_machine", lambda _: False)
    answer = CliRunner().invoke(submitting.submit, ["/no/such.wav"])
    assert answer.exit_code == 0 and "/no/such.wav" in answer.stdout
    assert answer.stderr.startswith("Warning: /no/such.wav does not exist on ")


def test_formats_without_a_directory_are_refused(settings: Settings, redis: Redis) -> None:
    answer = CliRunner().invoke(submitting.submit, ["--no-check", "/a.wav", "--format", "srt"])
    assert answer.exit_code == 2 and "--output-dir" in answer.stderr
    assert LedgerByHand(redis).jobs() == []


def test_ctrl_c_shows_the_jobs_that_continue(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(waiting, "watch", interrupt)
    monkeypatch.setattr("sys.argv", ["whisper-fleet", "submit", "--no-check", "--wait", "/a.wav"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    (job,) = LedgerByHand(redis).jobs()
    printed = capsys.readouterr()
    assert printed.out == "" and "The jobs continue" in printed.err and f"{job}  /a.wav" in printed.err


@pytest.mark.parametrize(("succeeds", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_is_that_of_the_jobs(settings: Settings, redis: Redis, succeeds: bool, code: int) -> None:
    class Ended(FleetClient):
        def submit(self, *, job: str | None = None, **request: Any) -> str:
            store = store_success if succeeds else store_failure
            store(redis, "mine", "a text")
            return "mine"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "connect_client", Ended)
        answer = CliRunner().invoke(submitting.submit, ["--no-check", "--wait", "/a.wav"])
    assert answer.exit_code == code
    results, errors = answer.stdout, answer.stderr
    assert ("a text" in results, "a text" in errors) == (succeeds, not succeeds)
    assert ("/a.wav" in results) == succeeds and "a.wav" in errors and "\x1b" not in answer.output


def test_without_any_fleet_the_commands_say_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = Settings(var_dir=tmp_path, state_home=tmp_path)
    monkeypatch.setattr("whisper_fleet.cli.main.local_settings", lambda: nowhere)

    def no_answer(_: object) -> None:
        raise RedisConnectionError("refused")

    monkeypatch.setattr(connection, "connect_client", no_answer)
    monkeypatch.setattr("sys.argv", ["whisper-fleet", "status"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        main()
    expected = "No fleet is up on this machine: start one with `whisper-fleet up`"
    assert (ended.value.code, capsys.readouterr().err.startswith(expected)) == (5, True)


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
