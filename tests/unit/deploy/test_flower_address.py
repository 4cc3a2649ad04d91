"""Where Flower listens is the operator's choice."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from whisper_fleet.deploy.processes import programs
from whisper_fleet.deploy.processes.ports import Ports
from whisper_fleet.deploy.processes.state_dir import StateDir
from whisper_fleet.deploy.processes.supervisor import Supervisor
from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.settings import Settings


def supervisor(tmp_path: Path, **settings: object) -> Supervisor:
    chosen = Settings.model_validate(
        {"redis_url": "redis://localhost:1/0", "var_dir": tmp_path, "host": "here", **settings}
    )
    return Supervisor(StateDir(chosen), chosen)


@pytest.mark.parametrize(
    ("address", "host"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "here"), ("::1", "[::1]"), ("10.0.0.5", "10.0.0.5")]
)
def test_flower_listens_where_the_settings_say(
    tmp_path: Path, address: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "user:password")
    settings = Settings(flower_address=address)
    (*_, flower) = programs.fleet(settings, gpus=[], cores=1, ports=Ports(flower=1234))
    assert {f"--address={address}", "--port=1234"} <= set(flower.command)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert supervisor(tmp_path, flower_address=address, flower_port=port).flower_url == f"http://{host}:{port}"


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.5", "box.example.org"])
def test_flower_that_other_machines_reach_needs_a_login(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLOWER_BASIC_AUTH", raising=False)
    with pytest.raises(SetupError, match=r"a login for Flower .*FLOWER_BASIC_AUTH=user:password"):
        supervisor(tmp_path, flower_address=address)
    supervisor(tmp_path, flower_address=address, roles=("scheduler",))  # no Flower here


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_flower_on_the_loopback_interface_needs_none(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLOWER_BASIC_AUTH", raising=False)
    supervisor(tmp_path, flower_address=address)


def test_a_port_that_is_in_use_is_replaced_only_if_no_port_was_chosen(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(SetupError, match=rf"TCP port {taken} for Flower is missing: .*WHISPER_FLEET_FLOWER_PORT"):
            supervisor(tmp_path, flower_port=taken)
    assert supervisor(tmp_path).flower_url.startswith("http://127.0.0.1:")
