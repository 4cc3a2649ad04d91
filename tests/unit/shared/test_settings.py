"""What the environment may say, and what is said of it when it is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from whisper_fleet.shared.errors import BadSetting, SetupError
from whisper_fleet.shared.fields import describe
from whisper_fleet.shared.settings import Settings, load_settings, unknown_names


@pytest.fixture(autouse=True)
def read_anew() -> Iterator[None]:
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("MAX_ATTEMPTS", "-1", "greater than or equal to 1"),
        ("SEGMENT_DURATION", "long", "valid number"),
        ("DRAIN_TIMEOUT", "inf", "finite"),
        ("HOST", "gpu.example.org", "match pattern"),
        ("LOG_LEVEL", "chatty", "'DEBUG', 'INFO'"),
        ("MEDIA_ROOTS", "/data", "a list is JSON"),
        ("EXCLUDE_GPUS", "0", "a list is JSON"),
        ("VAR_DIR", "~nobody-of-this-name/var", "whose home"),
        ("REDIS_URL", "localhost:6379", "should be redis://"),
        ("REDIS_URL", "unix:///run/redis.sock", "should be redis://"),
        ("REDIS_URL", "redis://:a/b@localhost:6379/0", "%2F"),
        ("REDIS_URL", "redis://localhost:6379/jobs", "should be redis://"),
        ("REDIS_URL", "redis://localhost:65536/0", "0-65535"),
        ("REDIS_URL", "rediss://localhost:6379/0", "ssl_cert_reqs=required"),
    ],
)
def test_a_setting_that_cannot_be_is_named(name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"WHISPER_FLEET_{name}", value)
    with pytest.raises(BadSetting, match=f"WHISPER_FLEET_{name} cannot be used: .*{reason}"):
        load_settings()


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://:p%2F%40@[::1]:6379/3",
        "redis://user:p@ss@host:1/",
        "rediss://host:6380/0?ssl_cert_reqs=required&ssl_ca_certs=/etc/ca.pem",
    ],
)
def test_a_redis_url_may_have_what_all_its_readers_understand(url: str) -> None:
    assert Settings(redis_url=url).redis_url == url


def test_gpus_are_excluded_by_index_and_by_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_FLEET_EXCLUDE_GPUS", '[0, "GPU-1"]')
    assert load_settings().exclude_gpus == ("0", "GPU-1")


def test_what_is_left_empty_has_its_default_but_for_cudas_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "VAR_DIR", "SPOOL_DIR", "MEDIA_ROOTS", "MAX_ATTEMPTS"):
        monkeypatch.setenv(f"WHISPER_FLEET_{name}", "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    settings = load_settings()
    assert settings.var_dir == Path("var")
    assert settings.model_fields_set == set()
    assert settings.cuda_visible_devices == ""


def test_paths_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("WHISPER_FLEET_VAR_DIR", "~/fleet")
    monkeypatch.setenv("WHISPER_FLEET_MEDIA_ROOTS", '["~/talks"]')
    assert load_settings().var_dir == Path("/home/me/fleet")
    assert load_settings().media_roots == (Path("/home/me/talks"),)


def test_a_gpu_does_not_count_as_dead_between_two_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_FLEET_HEARTBEAT_INTERVAL", "20")
    with pytest.raises(BadSetting, match="HEARTBEAT_TIMEOUT cannot be used: should be longer than"):
        load_settings()
    monkeypatch.setenv("WHISPER_FLEET_HEARTBEAT_TIMEOUT", "60")
    assert load_settings().heartbeat_interval == 20


def test_without_a_home_only_who_needs_the_models_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user may have neither HOME nor a name."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    settings = load_settings()
    with pytest.raises(SetupError, match="set WHISPER_FLEET_MODEL_DIR"):
        _ = settings.models


def test_the_log_level_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_FLEET_LOG_LEVEL", "debug")
    assert load_settings().log_level == "DEBUG"


def test_mistyped_names_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_FLEET_MEDIA_ROOT", '["/data"]')
    monkeypatch.setenv("WHISPER_FLEET_MEDIA_ROOTS", '["/data"]')
    assert unknown_names() == ["WHISPER_FLEET_MEDIA_ROOT"]


def test_every_setting_is_described_and_every_length_of_time_has_its_unit() -> None:
    fields = {field.name: field for field in describe(Settings)}
    assert set(fields) == set(Settings.model_fields)
    assert all(field.description for field in fields.values())
    times = [name for name in fields if name.endswith(("_interval", "_timeout", "_duration", "_retention"))]
    assert {fields[name].unit for name in [*times, "lease", "ageing"]} == {"s"}
    assert fields["spool_limit_bytes"].unit == "bytes"
    assert fields["memory_safety_margin"].range == "at least 0, less than 1"
