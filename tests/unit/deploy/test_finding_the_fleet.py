"""The commands find the embedded Redis of a running fleet from any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisper_fleet.deploy.processes.state_dir import StateDir
from whisper_fleet.shared.embedded_redis import is_embedded, note_file, with_embedded_redis
from whisper_fleet.shared.settings import Settings


def settings(tmp_path: Path, folder: str) -> Settings:
    """Of a command in that folder."""
    return Settings(var_dir=tmp_path / folder / "var", state_home=tmp_path / "state")


def found(tmp_path: Path, folder: str) -> str | None:
    """Return the address that a command in that folder finds."""
    seen = with_embedded_redis(settings(tmp_path, folder))
    return None if is_embedded(seen) else seen.redis_url


def test_a_fleet_is_found_from_any_folder_while_it_is_up(tmp_path: Path) -> None:
    state = StateDir(settings(tmp_path, "one"))
    with state.locked():
        state.write_redis_url("redis://one:1/0")
        assert found(tmp_path, "one") == found(tmp_path, "elsewhere") == "redis://one:1/0"
    assert found(tmp_path, "one") is None and found(tmp_path, "elsewhere") is None
    assert not note_file(settings(tmp_path, "one")).exists()


def test_of_two_fleets_the_one_in_the_folder_comes_first_and_then_the_newest(tmp_path: Path) -> None:
    one, two = (StateDir(settings(tmp_path, name)) for name in ("one", "two"))
    with one.locked():
        one.write_redis_url("redis://one:1/0")
        with two.locked():
            two.write_redis_url("redis://two:2/0")
            assert found(tmp_path, "one") == "redis://one:1/0"
            assert found(tmp_path, "elsewhere") == "redis://two:2/0"
        assert found(tmp_path, "one") == "redis://one:1/0"


def test_the_end_of_a_fleet_leaves_the_note_of_another(tmp_path: Path) -> None:
    one, two = (StateDir(settings(tmp_path, name)) for name in ("one", "two"))
    with two.locked():
        with one.locked():
            one.write_redis_url("redis://one:1/0")
            two.write_redis_url("redis://two:2/0")
        assert found(tmp_path, "elsewhere") == "redis://two:2/0"


def test_a_fleet_starts_where_no_note_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("not a directory")
    state = StateDir(settings(tmp_path, "one"))
    with state.locked():
        state.write_redis_url("redis://one:1/0")
        assert found(tmp_path, "one") == "redis://one:1/0" and found(tmp_path, "elsewhere") is None


@pytest.mark.parametrize(("variable", "home"), [("/xdg", "/xdg"), ("", "~/.local/state")])
def test_the_note_is_in_the_users_state_directory(monkeypatch: pytest.MonkeyPatch, variable: str, home: str) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", variable)
    assert note_file(Settings()) == Path(home).expanduser() / "whisper-fleet" / "var_dir"
