"""What `/livez` and `/readyz` answer."""

from __future__ import annotations

import pytest

from whisper_fleet.shared.process.probes import Probes, start_probes
from whisper_fleet.shared.process.program import split_index
from whisper_fleet.shared.settings import Settings


class Checked:
    """A program of which a test decides whether it works."""

    def __init__(self, problem: str | None = None) -> None:
        self.problem = problem
        self.checks = 0

    def check(self) -> str | None:
        self.checks += 1
        return self.problem


def probes(program: Checked, *, lives: bool = True) -> Probes:
    made = Probes("127.0.0.1", 0, lambda: lives, program.check)
    made._server.server_close()  # only `answer` is called
    return made


def test_a_program_that_cannot_work_lives_and_is_not_ready() -> None:
    page = probes(Checked("Redis at nowhere does not answer"))
    assert page.answer("/livez") == (200, "ok")
    assert page.answer("/readyz?verbose") == (503, "Redis at nowhere does not answer")
    assert page.answer("/")[0] == 404


def test_a_process_without_progress_is_not_alive() -> None:
    assert probes(Checked(), lives=False).answer("/livez")[0] == 503


def test_many_probes_cost_one_check() -> None:
    program = Checked()
    page = probes(program)
    assert {page.answer("/readyz") for _ in range(10)} == {(200, "ok")}
    assert program.checks == 1


def test_without_a_port_nothing_listens_and_a_port_in_use_costs_only_the_probes() -> None:
    program = Checked()
    assert start_probes(Settings(), lambda: True, program.check) is None
    assert start_probes(Settings(health_port=0), lambda: True, program.check) is None
    first = Probes("127.0.0.1", 0, lambda: True, program.check)
    assert start_probes(Settings(health_port=first.port), lambda: True, program.check) is None
    first._server.server_close()


@pytest.mark.parametrize(("name", "program"), [("gpu12", ("gpu", 12)), ("intake", ("intake", 0)), ("gpu", ("gpu", 0))])
def test_the_index_is_in_the_name(name: str, program: tuple[str, int]) -> None:
    assert split_index(name) == program
