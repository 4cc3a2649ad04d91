"""Which programs a machine runs for its roles."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from whisper_fleet.deploy.processes import programs
from whisper_fleet.deploy.processes.ports import Ports
from whisper_fleet.deploy.processes.state_dir import StateDir
from whisper_fleet.deploy.processes.supervisor import Supervisor
from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.names import Role
from whisper_fleet.shared.settings import Settings


def started(*roles: Role, gpus: tuple[int, ...] = (0, 1)) -> dict[str, str]:
    """Return the command line of each program of these roles."""
    fleet = programs.fleet(Settings(host="box"), gpus=gpus, cores=4, ports=Ports(flower=1), roles=roles)
    return {program.name: shlex.join(program.command) for program in fleet}


@pytest.mark.parametrize(
    ("roles", "names"),
    [
        ((Role.SCHEDULER,), ["beat", "scheduler"]),
        ((Role.INTAKE,), ["intake", "host"]),
        ((Role.GPU,), ["gpu0", "gpu1", "host"]),
        ((Role.FLOWER,), ["flower"]),
        ((Role.GPU, Role.SCHEDULER), ["beat", "scheduler", "gpu0", "gpu1"]),
        (tuple(Role), ["beat", "scheduler", "intake", "gpu0", "gpu1", "flower"]),
    ],
)
def test_a_machine_runs_the_programs_of_its_roles(roles: tuple[Role, ...], names: list[str]) -> None:
    assert list(started(*roles)) == names


def test_the_gpus_of_a_machine_are_resized_there_wherever_the_scheduler_runs() -> None:
    """The memory of a GPU can be read on its own machine only."""
    assert "-n host@box -Q scheduler.box" in started(Role.GPU)["host"]
    assert "-Q scheduler,scheduler.box" in started(Role.GPU, Role.SCHEDULER)["scheduler"]


def test_a_machine_without_a_scheduler_needs_the_address_of_redis(tmp_path: Path) -> None:
    settings = Settings(var_dir=tmp_path, roles=(Role.GPU,), device="cpu")
    with pytest.raises(SetupError, match="WHISPER_FLEET_REDIS_URL"):
        Supervisor(StateDir(settings), settings)


def test_every_program_can_be_started_by_its_name() -> None:
    known = programs.by_name(Settings(host="box"), gpus=[3], cores=4, ports=Ports(flower=1))
    assert set(known) == {"beat", "scheduler", "intake", "gpu3", "flower", "host"}
