"""The configuration of supervisord and Redis, and who may use a fleet's state directory."""

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
from supervisor.options import ServerOptions

from whisper_fleet.cli.machine.doctor import _folder
from whisper_fleet.cli.machine.up import _end_of_log, _telling_log
from whisper_fleet.cli.main import main
from whisper_fleet.deploy.processes import programs
from whisper_fleet.deploy.processes.configuration import redis_config, supervisor_config, tied_to_parent
from whisper_fleet.deploy.processes.ports import Ports
from whisper_fleet.deploy.processes.state_dir import StateDir, free_port
from whisper_fleet.shared import binaries
from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.settings import Settings


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(Settings(var_dir=tmp_path / "100 % mine"))


def config(state: StateDir, gpus: list[int]) -> configparser.RawConfigParser:
    """The supervisor's configuration, as an ini file."""
    settings = Settings(host="box")
    fleet = programs.fleet(settings, gpus=gpus, cores=4, ports=Ports(flower=5555))
    redis = programs.redis(Path("/opt/redis server"), state.redis_config)
    parser = configparser.RawConfigParser()
    parser.read_string(supervisor_config(state, redis, fleet))
    return parser


def test_there_is_one_node_for_each_gpu(state: StateDir) -> None:
    sections = config(state, [0, 3])
    assert sections["group:fleet"]["programs"] == "beat,scheduler,intake,gpu0,gpu3,flower"
    assert "-n gpu3@box -Q gpu.box.3" in sections["program:gpu3"]["command"]
    assert 'WHISPER_FLEET_GPU_INDEX="3"' in sections["program:gpu3"]["environment"]


def test_redis_starts_first_and_stops_last(state: StateDir) -> None:
    sections = config(state, [0])
    assert int(sections["group:store"]["priority"]) < int(sections["group:fleet"]["priority"])


def test_an_outside_redis_is_not_started(state: StateDir) -> None:
    assert "program:" not in supervisor_config(state, None, [])


def test_every_process_is_tied_and_restarted(state: StateDir) -> None:
    sections = config(state, [0])
    programs = [sections[name] for name in sections.sections() if name.startswith("program:")]
    assert len(programs) == 6
    for section in programs:
        assert section["autorestart"] == "true"
        assert shlex.split(section["command"])[2].endswith("parent_death.py")


def test_odd_paths_survive_the_configuration(state: StateDir) -> None:
    sections = config(state, [0])
    assert "'/opt/redis server'" in sections["program:redis"]["command"]
    assert sections["program:beat"]["stdout_logfile"].endswith("100 %%%% mine/log/beat.log")


def test_supervisord_and_redis_read_odd_paths_as_they_are(tmp_path: Path) -> None:
    state = StateDir(Settings(var_dir=tmp_path / "100 %x of 'our' \"ü\" \\d"))
    with state.locked():
        echo = programs.Program(name="echo", command=("echo", "100 % said"))
        state.supervisor_config.write_text(supervisor_config(state, None, [echo]))
        options = ServerOptions()
        options.realize(["-c", str(state.supervisor_config)])
        (group,) = options.process_group_configs
        assert group.process_configs[0].stdout_logfile == str(state.logs / "echo.log")
        assert shlex.split(group.process_configs[0].command)[-1] == "100 % said"
        state.redis_config.write_text(redis_config(state, 0, "secret"))
        server = subprocess.run([binaries.redis_server(), state.redis_config], stdout=subprocess.PIPE, text=True)
        assert "Configured to not listen anywhere" in server.stdout


@pytest.mark.parametrize("name", ["fleet #1", "mine ;yours", "two\nlines"])
def test_a_path_that_supervisord_would_cut_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SetupError, match="rename the folder"):
        supervisor_config(StateDir(Settings(var_dir=tmp_path / name)), None, [])


def test_redis_keeps_jobs_to_this_machine_and_on_disk(state: StateDir) -> None:
    lines = redis_config(state, 7000, "secret").splitlines()
    wanted = {"bind 127.0.0.1", "port 7000", "requirepass secret", "appendonly yes", "maxmemory-policy noeviction"}
    assert wanted <= set(lines)


def test_only_one_fleet_may_be_up_in_a_folder(state: StateDir) -> None:
    with state.locked(), pytest.raises(SetupError, match="a fleet is up in it already"), state.locked():
        pass
    with state.locked():
        pass


def test_a_fleet_leaves_no_pid_file_or_socket(state: StateDir) -> None:
    with state.locked():
        state.supervisor_pid.write_text("1")
        state.write_redis_url("redis://:secret@127.0.0.1:1/0")
        assert stat.S_IMODE(state.redis_url.stat().st_mode) == 0o600
    assert list(state.run.iterdir()) == []


def test_what_a_killed_fleet_left_is_cleared_away(state: StateDir) -> None:
    with state.locked():
        pass
    (state.run / "engine-box-0.sock").touch()
    state.supervisor_pid.write_text("999999999")
    with state.locked():
        assert list(state.run.iterdir()) == []


def test_what_others_have_in_the_folder_stays_theirs(state: StateDir) -> None:
    (state.run / "dbus").mkdir(parents=True)
    (state.run / "other.pid").touch()
    state.run.chmod(0o755)
    with state.locked():
        pass
    assert {entry.name for entry in state.run.iterdir()} == {"dbus", "other.pid"}
    assert stat.S_IMODE(state.run.stat().st_mode) == 0o755


def test_a_port_and_a_password_that_a_full_disk_left_empty_are_made_again(state: StateDir) -> None:
    with state.locked():
        for name in ("port", "password"):
            (state.redis / name).touch()
        port, password = state.embedded_redis_address()
        assert port
        assert len(password) > 20
        assert state.embedded_redis_address() == (port, password)


def test_a_folder_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is found before anything is started, so that there is nothing to stop."""
    monkeypatch.setattr("sys.argv", ["whisper-fleet", "up"])
    monkeypatch.setattr("whisper_fleet.cli.machine.up._prepare", lambda *_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    (tmp_path / "file").touch()
    monkeypatch.setattr("whisper_fleet.cli.machine.up.load_settings", lambda: Settings(var_dir=tmp_path / "file"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, "file: File exists" in capsys.readouterr().err) == (1, True)


def test_redis_keeps_its_address_while_the_port_is_free(state: StateDir) -> None:
    with state.locked():
        first = state.embedded_redis_address()
        assert state.embedded_redis_address() == first
        with socket.socket() as other:
            other.bind(("127.0.0.1", first[0]))
            other.listen()
            port, password = state.embedded_redis_address()
        assert port != first[0]
        assert password == first[1]


def test_a_port_in_use_is_not_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert free_port(other.getsockname()[1]) != other.getsockname()[1]


def test_the_doctor_looks_at_the_fleets_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(_folder(Settings(var_dir=tmp_path / "not" / "yet"))) == []
    (tmp_path / "file").touch()
    (finding,) = _folder(Settings(var_dir=tmp_path / "file" / "var"))
    assert finding.kind == "bad"
    assert f"{tmp_path / 'file'} is not a folder" in finding.text
    monkeypatch.setattr("os.access", lambda path, _: path != tmp_path)  # root may write everywhere
    assert [finding.kind for finding in _folder(Settings(var_dir=tmp_path / "var"))] == ["bad"]


def test_a_fleet_without_its_redis_shows_the_end_of_that_log(state: StateDir) -> None:
    with state.locked():
        (state.logs / "gpu0.log").write_text("Connection refused")
        (state.logs / "redis.log").write_text("Bad file format reading the append only file")
        assert "Connection refused" in _end_of_log(_telling_log(state, redis_answers=False))  # the Redis is not ours
        state.write_redis_url("redis://127.0.0.1:1/0")
        assert "append only file" in _end_of_log(_telling_log(state, redis_answers=False))
        assert "Connection refused" in _end_of_log(_telling_log(state, redis_answers=True))


def test_supervisord_starts_where_few_files_may_be_open(state: StateDir) -> None:
    limits = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))"
    printing = (
        "from whisper_fleet.deploy.processes.configuration import _supervisord;"
        "from whisper_fleet.deploy.processes.state_dir import StateDir; print(_supervisord(StateDir(s)))"
    )
    code = f"{limits}; from whisper_fleet.shared.settings import Settings; s = Settings(); {printing}"
    printed = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "minfds=256" in printed.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals children when their parent dies")
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


@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_closed_terminal_ends_a_command_unless_nohup_started_it(
    before: signal.Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["whisper-fleet", "--version"])
    ours = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGHUP, before)
        main()
        assert (signal.getsignal(signal.SIGHUP) is signal.SIG_IGN) == (before is signal.SIG_IGN)
        assert callable(signal.getsignal(signal.SIGTERM))
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
