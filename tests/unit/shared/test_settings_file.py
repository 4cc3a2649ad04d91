"""The settings file: its place, its values below those of the environment, and what is wrong with it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from whisper_fleet.cli.machine.config import config
from whisper_fleet.shared.errors import BadSetting, SetupError
from whisper_fleet.shared.settings import GROUPS, Settings, load_settings
from whisper_fleet.shared.settings.file import VARIABLE


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the settings file that WHISPER_FLEET_CONFIG names."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "fleet.toml"))
    return tmp_path / "fleet.toml"


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def test_values_come_from_the_file_and_tables_only_group(file: Path) -> None:
    file.write_text('segment_duration = 120\nexclude_gpus = ["0"]\n[slots]\nmemory_safety_margin = 0.3\n')
    settings = load_settings()
    assert (settings.segment_duration, settings.exclude_gpus, settings.memory_safety_margin) == (120, ("0",), 0.3)


def test_a_variable_overrides_the_file_unless_it_is_empty(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('segment_duration = 120\ndefault_model = "small"\n')
    monkeypatch.setenv("WHISPER_FLEET_SEGMENT_DURATION", "60")
    monkeypatch.setenv("WHISPER_FLEET_DEFAULT_MODEL", "")
    settings = load_settings()
    assert (settings.segment_duration, settings.default_model) == (60, "small")


def test_the_usual_place_is_read_if_no_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "whisper-fleet").mkdir()
    (tmp_path / "whisper-fleet" / "config.toml").write_text("lease = 77\n")
    assert load_settings().lease == 77


@pytest.mark.parametrize(
    ("text", "error", "parts"),
    [
        ("segment_duration = 1\n", BadSetting, ("segment_duration in ", "fleet.toml", "greater than or equal to 30")),
        ("segment_durations = 60\n", BadSetting, ("segment_durations in ", "no such setting")),
        ("segment_duration = \n", SetupError, ("fleet.toml", "line 1")),
        ('exclude_gpus = "0"\n', BadSetting, ("exclude_gpus in ", "tuple")),
    ],
)
def test_what_is_wrong_in_the_file_is_named(file: Path, text: str, error: type[Exception], parts: list[str]) -> None:
    file.write_text(text)
    with pytest.raises(error) as raised:
        load_settings()
    assert all(part in str(raised.value) for part in parts), str(raised.value)


def test_a_named_file_that_is_missing_is_an_error(file: Path) -> None:
    with pytest.raises(SetupError, match="settings file"):
        load_settings()


def test_a_wrong_variable_is_named_as_a_variable_beside_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("lease = 77\n")
    monkeypatch.setenv("WHISPER_FLEET_LEASE", "-1")
    with pytest.raises(BadSetting, match="WHISPER_FLEET_LEASE"):
        load_settings()


def test_show_names_the_source_of_each_value_and_hides_the_password(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('redis_url = "redis://me:secret@db:6379/0"\n')
    monkeypatch.setenv("WHISPER_FLEET_LEASE", "60")
    shown = CliRunner().invoke(config, ["show"]).stdout
    assert f'redis_url = "redis://me:***@db:6379/0"   ({file}; needs a restart)' in shown
    assert "lease = 60.0   (WHISPER_FLEET_LEASE)" in shown
    assert "max_attempts = 3   (default)" in shown
    assert "secret" not in shown


def test_the_printed_file_has_every_setting_and_changes_nothing(file: Path) -> None:
    text = CliRunner().invoke(config, ["default"]).stdout
    file.write_text(text)
    before = Settings()
    load_settings.cache_clear()
    assert load_settings() == before
    uncommented = [line[2:] for line in text.splitlines() if line.startswith("# ") and " = " in line]
    names = {next(iter(tomllib.loads(line))) for line in uncommented}
    assert names == set(Settings.model_fields) - {"cuda_visible_devices"}


def test_every_setting_is_in_one_group() -> None:
    grouped = [name for group in GROUPS.values() for name in group.model_fields]
    assert sorted(grouped) == sorted(Settings.model_fields)
