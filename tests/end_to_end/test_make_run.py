"""`make run` and `make up`: what they print, that they end cleanly, and that what is killed comes back."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.fleet_command import PROGRAMS, FleetCommand
from tests.support.speech_files import word_errors, words
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(400)]


def test_run_prints_the_sample_speech_and_ends_by_itself(
    base_model: Path, speech: dict[Path, str], tmp_path: Path
) -> None:
    fleet = FleetCommand(tmp_path, base_model.parent, "run")
    try:
        assert fleet.front.wait(timeout=300) == 0, fleet.output()
        assert fleet.processes() == []
        assert list((fleet.var / "run").iterdir()) == []
    finally:
        fleet.end()
    printed = fleet.output().splitlines()
    heard = [words(printed[printed.index(clip.name) + 1]) for clip in speech]
    said = [words(text) for text in speech.values()]
    wrong = sum(word_errors(ours, theirs) for ours, theirs in zip(heard, said, strict=True))
    assert wrong / sum(map(len, said)) <= 0.02
    for clip in speech:
        assert words((fleet.var / "output" / f"{clip.stem}.txt").read_text())
        assert f"{clip.stem}.srt" in fleet.output()


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_a_run_that_is_stopped_leaves_nothing_behind(name: str, base_model: Path, tmp_path: Path) -> None:
    fleet = FleetCommand(tmp_path, base_model.parent, "run")
    try:
        wait_until(lambda: fleet.process("intake") and fleet.process("gpu0"), 60, interval=0.2)
        fleet.front.send_signal(signal.Signals[name])
        assert fleet.front.wait(timeout=90) == 128 + signal.Signals[name]
        assert fleet.processes() == []
        assert list((fleet.var / "run").iterdir()) == []
    finally:
        fleet.end()


def test_a_front_that_is_killed_takes_everything_with_it(base_model: Path, tmp_path: Path) -> None:
    fleet = FleetCommand(tmp_path, base_model.parent, "up")
    try:
        wait_until(lambda: fleet.process("gpu0"), 60, interval=0.2)
        fleet.front.kill()
        fleet.front.wait()
        wait_until(lambda: not fleet.processes(), 60, interval=0.2)
    finally:
        fleet.end()


def test_a_second_fleet_in_the_same_folder_is_refused(up: FleetCommand) -> None:
    second = up.command("up")
    assert second.returncode == 1
    assert "a fleet is up in it already" in second.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_killed_is_back_within_twenty_seconds_and_the_next_job_succeeds(
    program: str, up: FleetCommand, speech: dict[Path, str]
) -> None:
    wait_until(lambda: all(up.process(name) for name in PROGRAMS), 60, interval=0.2)
    killed = up.process(program)
    assert killed is not None
    killed.kill()
    wait_until(lambda: (now := up.process(program)) is not None and now != killed, 20, interval=0.2)
    clip, text = sorted(speech.items())[1]
    job = up.command("submit", str(clip), "--language", "en", "--wait")
    assert job.returncode == 0, job.stdout + job.stderr
    assert text.split()[-1] in job.stdout


def test_the_commands_of_another_terminal_find_the_fleet(up: FleetCommand, speech: dict[Path, str]) -> None:
    clip = min(speech)
    job = up.command("submit", str(clip), "--language", "en").stdout.split()[0]
    wait_until(lambda: "done" in up.command("status", job).stdout, 120, interval=0.2)
    assert "Dashwood" in up.command("result", job).stdout
    assert up.command("cancel", job).stdout.strip() == "it had ended before"
    assert job in up.command("status").stdout
    unknown = up.command("status", "no-such-job")
    assert unknown.returncode == 4
    assert "JobNotFound" in unknown.stderr


def test_the_self_test_takes_a_clip_through_every_step(up: FleetCommand) -> None:
    done = up.command("selftest")
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [line.split()[1] for line in done.stdout.splitlines()]
    assert steps == ["Redis", "GPUs", "planned", "started", "transcribed", "delivered", "text"]


def test_a_job_that_cannot_be_done_ends_the_command_with_its_reason(up: FleetCommand) -> None:
    job = up.command("submit", "/no/such/file.wav", "--no-check", "--wait")
    assert job.returncode == 1
    assert "FileMissing" in job.stderr


def test_the_doctor_finds_everything_in_order(up: FleetCommand) -> None:
    report = up.command("doctor")
    assert report.returncode == 0, report.stdout
    assert "Redis" in report.stdout
    assert "ffmpeg" in report.stdout
    assert "slots" in report.stdout
