"""What the supervisor and Redis are told, and who may use a fleet's folder."""

from __future__ import annotations

import configparser
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deploy import programs
from deploy.configuration import redis_config, supervisor_config, tied_to_parent
from deploy.home import Home, free_port
from shared.errors import SetupError
from shared.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(Settings(var_dir=tmp_path / "100 % mine"))


def config(home: Home, gpus: list[int]) -> configparser.RawConfigParser:
    """The supervisor's configuration, as an ini file."""
    settings = Settings(host="box")
    fleet = programs.fleet(settings, gpus=gpus, cores=4, beat_schedule=home.beat_schedule, flower_port=5555)
    redis = programs.redis(Path("/opt/redis server"), home.redis_config)
    parser = configparser.RawConfigParser()
    parser.read_string(supervisor_config(home, redis, fleet))
    return parser


def test_there_is_one_node_for_each_gpu(home: Home) -> None:
    told = config(home, [0, 3])
    assert told["group:fleet"]["programs"] == "beat,scheduler,intake,gpu0,gpu3,flower"
    assert "-n gpu3@box -Q gpu.box.3" in told["program:gpu3"]["command"]
    assert 'WHISPER_FLEET_GPU_INDEX="3"' in told["program:gpu3"]["environment"]


def test_redis_starts_first_and_stops_last(home: Home) -> None:
    told = config(home, [0])
    assert int(told["group:store"]["priority"]) < int(told["group:fleet"]["priority"])


def test_an_outside_redis_is_not_started(home: Home) -> None:
    assert "program:" not in supervisor_config(home, None, [])


def test_every_process_is_tied_and_restarted(home: Home) -> None:
    told = config(home, [0])
    sections = [told[name] for name in told.sections() if name.startswith("program:")]
    assert len(sections) == 6
    for section in sections:
        assert section["autorestart"] == "true"
        assert shlex.split(section["command"])[2].endswith("tied.py")


def test_odd_paths_survive_the_configuration(home: Home) -> None:
    told = config(home, [0])
    assert "'/opt/redis server'" in told["program:redis"]["command"]
    assert told["program:beat"]["stdout_logfile"].endswith("100 %% mine/log/beat.log")


def test_redis_keeps_jobs_to_this_machine_and_on_disk(home: Home) -> None:
    lines = redis_config(home, 7000, "secret").splitlines()
    wanted = {"bind 127.0.0.1", "port 7000", "requirepass secret", "appendonly yes", "maxmemory-policy noeviction"}
    assert wanted <= set(lines)


def test_only_one_fleet_may_be_up_in_a_folder(home: Home) -> None:
    with home.taken(), pytest.raises(SetupError, match="a fleet is up in it already"), home.taken():
        pass
    with home.taken():
        pass


def test_a_fleet_leaves_no_pid_file_or_socket(home: Home) -> None:
    with home.taken():
        home.supervisor_pid.write_text("1")
        home.tell_redis_url("redis://:secret@127.0.0.1:1/0")
        assert stat.S_IMODE(home.redis_url.stat().st_mode) == 0o600
    assert list(home.run.iterdir()) == []


def test_what_a_killed_fleet_left_is_cleared_away(home: Home) -> None:
    with home.taken():
        pass
    (home.run / "engine.sock").touch()
    home.supervisor_pid.write_text("999999999")
    with home.taken():
        assert list(home.run.iterdir()) == []


def test_redis_keeps_its_address_while_the_port_is_free(home: Home) -> None:
    with home.taken():
        first = home.embedded_redis_address()
        assert home.embedded_redis_address() == first
        with socket.socket() as other:
            other.bind(("127.0.0.1", first[0]))
            other.listen()
            port, password = home.embedded_redis_address()
        assert port != first[0]
        assert password == first[1]


def test_a_port_in_use_is_not_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert free_port(str(other.getsockname()[1])) != other.getsockname()[1]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_a_tied_process_dies_with_its_parent() -> None:
    tied = shlex.join(tied_to_parent("SIGKILL", ["sleep", "60"]))
    parent = subprocess.Popen(["/bin/sh", "-c", f"{tied} & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent, parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
        deadline = time.monotonic() + 10
        while child.cmdline()[:1] != ["sleep"] and time.monotonic() < deadline:
            time.sleep(0.05)
        parent.send_signal(signal.SIGKILL)
        child.wait(timeout=10)
    assert not child.is_running()
