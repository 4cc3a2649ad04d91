"""The exit codes of the commands, for scripts that decide by them."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    meaning: str

    DONE = 0, "all is done; for `run`, `wait`, `selftest` and `submit --wait`, every job succeeded"
    FAILED = 1, "an error, which one sentence explains, or a job that failed or was cancelled"
    USAGE = 2, "wrong usage: an unknown option or value"
    NOT_FINISHED = 3, "the job has not ended: ask again later"
    NOT_FOUND = 4, "there is no such job, or no longer"
    UNREACHABLE = 5, "no fleet answers: it is not up, or its Redis or HTTP server is unreachable or refuses"
    INTERRUPTED = 130, "Ctrl-C; jobs that were submitted continue, and their ids are printed"

    def __new__(cls, code: int, meaning: str) -> ExitCode:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member
