"""What counts as an outage of Redis, and what the log says about one."""

from __future__ import annotations

import logging
from itertools import islice

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, OutOfMemoryError, RedisError, ResponseError

from whisper_fleet.shared.connect import Outage, is_forbidden, is_outage, pauses

_log = logging.getLogger(__name__)


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("refused"),
        OperationalError("by Celery"),
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        ResponseError("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist"),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        ResponseError(
            "Error running script (call to f_1): @user_script:8: @user_script: 8: -OOM command not allowed when"
            " used memory > 'maxmemory'."
        ),
        ResponseError("@user_script: 8: -MISCONF Errors writing to the AOF file: No space left on device"),
        ResponseError("READONLY You can't write against a read only replica. script: 1, on @user_script:8."),
        NoPermissionError("this user has no permissions to run the 'lpush' command or its subcommand"),
        ResponseError("@user_script: 8: The user executing the script can't run this command or subcommand"),
        ResponseError("ACL failure in script: User fleet has no permissions to run the 'del' command"),
        ResponseError("Command # 1 (ZADD fleet:hosts 1 here) of pipeline caused error: MISCONF Redis is configured"),
    ],
)
def test_every_refusal_that_may_pass_is_an_outage(error: Exception) -> None:
    assert is_outage(error)
    assert is_forbidden(error) == any(word in str(error) for word in ("permissions", "The user executing"))


@pytest.mark.parametrize(
    "error",
    [
        ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        ResponseError("Error running script: @user_script:3: attempt to index a nil value"),
        ValueError("OOM"),
        OSError(28, "No space left on device"),
    ],
)
def test_an_error_of_the_program_or_the_disk_is_none(error: Exception) -> None:
    assert not is_outage(error)


def test_pauses_double_up_to_the_longest() -> None:
    made = list(islice(pauses(1.0, 5.0), 6))
    for pause, most in zip(made, (1.0, 2.0, 4.0, 5.0, 5.0, 5.0), strict=True):
        assert 0.75 * most <= pause <= most


def test_a_step_is_repeated_until_redis_accepts_and_the_log_has_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    refusals: list[RedisError] = [ResponseError("MISCONF full disk"), RedisConnectionError("refused")] * 50
    waited: list[float] = []

    def step() -> str:
        if refusals:
            raise refusals.pop()
        return "stored"

    outage = Outage("results", _log)
    assert outage.retried(step, waited.append) == "stored"
    assert len(waited) == 100 and max(waited) <= 5.0
    assert [record.message.partition(":")[0] for record in caplog.records] == ["results", "results"]
    assert "accepts again after" in caplog.records[-1].message
    assert outage.retried(step, waited.append) == "stored"
    assert len(caplog.records) == 2


def test_an_error_that_is_no_outage_passes_and_ends_one(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("ticks", _log)
    with outage.ignored():
        raise RedisConnectionError("refused")
    assert outage.is_on
    with pytest.raises(ValueError, match="of the program"), outage.ignored():
        raise ValueError("of the program")
    assert not outage.is_on
    assert "accepts again" in caplog.text


def test_what_the_wait_raises_ends_the_retries() -> None:
    def refused() -> None:
        raise RedisConnectionError("refused")

    def stop(_: float) -> None:
        raise InterruptedError("the slot was stopped")

    with pytest.raises(InterruptedError):
        Outage("segments", _log).retried(refused, stop)


@pytest.mark.parametrize(
    "error",
    [
        NoPermissionError("this user has no permissions to run the 'lpush' command or its subcommand"),
        OperationalError("Couldn't apply: this user has no permissions to run the 'lpush' command or its subcommand"),
        ResponseError("@user_script: 8: The user executing the script can't run this command or subcommand"),
    ],
)
def test_the_log_of_a_missing_right_names_the_command_that_names_it(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    Outage("sending ticks", _log).failed(error)
    assert str(error) in caplog.text
    assert "`whisper-fleet doctor` names the right" in caplog.text


def test_the_log_of_another_outage_names_no_right(caplog: pytest.LogCaptureFixture) -> None:
    Outage("sending ticks", _log).failed(RedisConnectionError("refused"))
    assert "doctor" not in caplog.text
