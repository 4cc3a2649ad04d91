"""A watched directory yields each file once it is complete, and again only when it is replaced."""

from __future__ import annotations

from pathlib import Path

from whisper_fleet.cli.jobs.watching import Arrivals, job_of

TALK = Path("/in/talk.mp3")


def test_a_file_is_reported_once_and_only_when_it_has_stopped_growing() -> None:
    arrivals = Arrivals()
    looks = [{TALK: (10, 1)}, {TALK: (20, 2)}, {TALK: (20, 2)}, {TALK: (20, 2)}]
    assert [arrivals.look(files) for files in looks] == [[], [], [TALK], []]


def test_an_empty_file_is_not_complete() -> None:
    arrivals = Arrivals()
    assert [arrivals.look({TALK: (0, 1)}) for _ in range(3)] == [[], [], []]


def test_a_file_that_is_replaced_is_reported_again() -> None:
    arrivals = Arrivals()
    looks = [{TALK: (20, 2)}, {TALK: (20, 2)}, {}, {TALK: (20, 3)}, {TALK: (20, 3)}]
    assert [arrivals.look(files) for files in looks] == [[], [TALK], [], [], [TALK]]


def test_the_same_form_of_a_file_with_the_same_request_is_the_same_job() -> None:
    request = {"file_path": str(TALK), "language": "en"}
    assert job_of((20, 2), request) == job_of((20, 2), dict(reversed(request.items())))
    others = [job_of((20, 3), request), job_of((20, 2), request | {"language": "de"})]
    assert job_of((20, 2), request) not in others
