"""`whisper-fleet dead-letters`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from whisper_fleet.cli import dead_letters as command
from whisper_fleet.shared.broker.dead_letters import COUNT_KEY, KEY, letter_json
from whisper_fleet.shared.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def fleet(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "local_settings", lambda: Settings(redis_url=redis_url, var_dir=tmp_path))


def set_aside(redis: Redis, *messages: str) -> None:
    for message in messages:
        redis.hset(KEY, str(redis.incr(COUNT_KEY)), letter_json("transcribe", "it is no JSON\x1b[2J", message))


def call(*arguments: str) -> Result:
    return CliRunner().invoke(command.dead_letters, arguments)


def test_each_is_listed_in_one_line_without_control_characters(redis: Redis) -> None:
    assert call().output == "no dead letters\n"
    set_aside(redis, "{]", '{"headers": {"id": "a-job"}}')
    lines = call().output.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert "transcribe: it is no JSON\\x1b[2J (2 B)" in lines[0] and "job a-job)" in lines[1]


def test_as_json_it_is_complete(redis: Redis) -> None:
    set_aside(redis, "{]\x1b")
    answer = call("--json")
    (letter,) = json.loads(answer.output)
    assert letter["message"] == "{]\x1b" and letter["number"] == 1 and letter["task_id"] is None
    assert b"\x1b" not in answer.output_bytes


def test_some_or_all_are_deleted(redis: Redis) -> None:
    set_aside(redis, "1", "2", "3", "4")
    assert call("--delete", "2", "--delete", "3").output == "deleted 2\n"
    missing = call("--delete", "3")
    assert missing.exit_code == 1 and "deleted 0" in missing.output and "no dead letter 3" in missing.output
    assert call("--all").output == "deleted 2\n"
    assert call().output == "no dead letters\n"


def test_a_list_as_json_deletes_nothing(redis: Redis) -> None:
    set_aside(redis, "1")
    assert call("--json", "--all").exit_code == 2
    assert call().output.startswith("1  ")
