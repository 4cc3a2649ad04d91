"""What a reload changes in a process, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from whisper_fleet.shared.errors import BadSetting, SetupError
from whisper_fleet.shared.settings import Settings, load_settings
from whisper_fleet.shared.settings.file import VARIABLE
from whisper_fleet.shared.settings.reload import Reloaded, reload_settings, reloadable_settings


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the settings file of this process."""
    file = tmp_path / "fleet.toml"
    file.write_text("max_attempts = 2")
    monkeypatch.setenv(VARIABLE, str(file))
    monkeypatch.setenv("WHISPER_FLEET_LEASE", "30")
    return file


def test_what_can_be_reloaded_changes_in_every_copy_and_the_rest_is_named(file: Path) -> None:
    settings = load_settings()
    copy = settings.model_copy(update={"redis_url": "redis://elsewhere/0"})
    file.write_text('max_attempts = 5\nlease = 60\nhost = "other"\nfeeders = 2')
    assert reload_settings(settings, copy) == Reloaded(changed=("max_attempts",), needs_restart=("feeders", "host"))
    for one in (settings, copy):
        assert (one.max_attempts, one.lease, one.feeders) == (5, 30.0, None)  # the variable comes before the file
    assert copy.redis_url == "redis://elsewhere/0"
    assert reload_settings(settings, copy) == Reloaded(needs_restart=("feeders", "host"))


@pytest.mark.parametrize(
    ("text", "error"), [("max_attempts = 0", BadSetting), ("max_attempts =", SetupError), ("nonsense = 1", BadSetting)]
)
def test_a_wrong_file_changes_nothing(file: Path, text: str, error: type[Exception]) -> None:
    settings = load_settings()
    before = settings.model_dump()
    file.write_text(text)
    with pytest.raises(error):
        reload_settings(settings)
    assert settings.model_dump() == before


def test_a_setting_in_a_command_line_or_of_a_socket_needs_a_restart() -> None:
    fixed = {"redis_url", "host", "roles", "decoders", "device", "http_port", "var_dir", "model_idle_timeout"}
    assert not fixed & reloadable_settings()
    assert fixed < set(Settings.model_fields)
