"""Where a machine finds Redis and its files."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from whisper_fleet.shared.fields import ExpandedPath
from whisper_fleet.shared.settings.values import RedisUrl, host_name


class Places(BaseSettings):
    """Where a machine finds Redis and its files."""

    redis_url: RedisUrl = Field(
        default="redis://127.0.0.1:6379/0",
        description="Redis of the fleet: broker, results and ledger; left out, `whisper-fleet up` starts its own.",
    )
    server: str | None = Field(
        default=None,
        description="HTTP server, such as https://fleet.example.org, that commands about jobs use instead of Redis.",
    )
    key: SecretStr | None = Field(default=None, description="API key for WHISPER_FLEET_SERVER.")
    host: str = Field(
        default_factory=host_name,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Name of this host, unique in the fleet, without dots; left out, its short host name.",
    )
    var_dir: ExpandedPath = Field(
        default=Path("var"), description="Directory of the embedded Redis, spool, sockets, logs and default outputs."
    )
    state_home: ExpandedPath = Field(
        default_factory=lambda: Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state"),
        validate_default=True,
        description="Directory in which a fleet with an embedded Redis notes where it runs, so that commands find it"
        " from any folder; left out, XDG_STATE_HOME or ~/.local/state.",
    )
    model_dir: Path = Field(
        default=Path("~/.cache/whisper"),
        description="Directory of Whisper checkpoints, <name>.pt; the default is openai-whisper's own cache.",
    )
    model_roots: tuple[ExpandedPath, ...] = Field(
        default=(),
        description="Directories, besides WHISPER_FLEET_MODEL_DIR, that a checkpoint must be below if a request names"
        " it by its path.",
    )
    spool_dir: ExpandedPath | None = Field(
        default=None,
        description="Directory of the decoded audio of planned segments; left out, spool in WHISPER_FLEET_VAR_DIR. On"
        " storage that all hosts share, each file is decoded once.",
    )
    ffmpeg: ExpandedPath | None = Field(
        default=None, description="Path of ffmpeg; left out, the one on PATH, else the one of imageio-ffmpeg."
    )
