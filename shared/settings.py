"""The one reader of the environment: every process asks `load_settings()` once and passes values on."""

from __future__ import annotations

import os
import re
import socket
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from whisper_fleet.shared.errors import BadSetting, SetupError
from whisper_fleet.shared.models import CrossAttention, Precision

_PREFIX = "WHISPER_FLEET_"
_LIST = 'a list is JSON, such as ["/data", "/media"]'


def _host_name() -> str:
    """This host as one DNS label: dots would split the queue name `gpu.<host>.<index>`."""
    return socket.gethostname().split(".")[0].lower()


def _redis_url(url: str) -> str:
    """What redis-py, Celery's broker and its result backend all understand."""
    if not re.fullmatch(r"rediss?://[^/?#\s]*(/\d*)?(\?\S+)?", url):
        form = "should be redis://[:password@]host[:port][/database]"
        raise ValueError(f"{form}, with %2F, %3F and %23 for / ? and # in a password")
    if url.startswith("rediss") and not re.search(r"[?&]ssl_cert_reqs=(required|optional|none)\b", url):
        raise ValueError("rediss:// needs ?ssl_cert_reqs=required")
    if urlsplit(url).port == 0:  # itself a ValueError where it is no port
        raise ValueError("Port out of range 1-65535")
    return url


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("nobody knows here whose home is meant") from None


_Path = Annotated[Path, AfterValidator(_at_home)]


class Settings(BaseSettings):
    """Every setting of the fleet; WHISPER_FLEET_<NAME> in the environment overrides the default, if not empty."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        protected_namespaces=(),
        coerce_numbers_to_str=True,  # EXCLUDE_GPUS=[0]
        allow_inf_nan=False,
    )

    # Where things are
    redis_url: Annotated[str, AfterValidator(_redis_url)] = "redis://127.0.0.1:6379/0"
    host: str = Field(default_factory=_host_name, pattern=r"^[A-Za-z0-9_-]+$")
    #: The embedded Redis, spool, sockets, logs and default outputs live below this directory.
    var_dir: _Path = Path("var")
    #: Whisper checkpoints, `<name>.pt`; openai-whisper's own cache directory by default.
    model_dir: Path = Path("~/.cache/whisper")
    #: Decoded audio of planned segments; put it on storage that all hosts share to decode each file once.
    spool_dir: _Path | None = None
    #: Path of ffmpeg; None: from PATH, else the one that imageio-ffmpeg brings.
    ffmpeg: _Path | None = None

    # Jobs
    default_model: str = "base"
    default_precision: Precision = "float16"
    cross_attention: CrossAttention = "auto"
    segment_duration: float = Field(default=300.0, ge=30.0, le=3600.0)  # seconds
    max_attempts: int = Field(default=3, ge=1)
    #: Directories that file_path and output_path must be below; empty: any that the process may use.
    media_roots: tuple[_Path, ...] = ()
    #: URL prefixes that file_path may start with; empty: URLs are refused.
    url_prefixes: tuple[str, ...] = ()
    #: URL prefixes that callback_url may start with; empty: callbacks are refused.
    callback_prefixes: tuple[str, ...] = ()
    job_retention: float = Field(default=7 * 86400.0, gt=0)  # seconds a finished job stays in the ledger
    spool_limit_bytes: int = Field(default=50 * 2**30, ge=0)

    # Slots
    memory_safety_margin: float = Field(default=0.2, ge=0.0, lt=1.0)
    min_concurrent_tasks: int = Field(default=1, ge=0)
    max_concurrent_limit: int = Field(default=64, ge=1)
    #: How many slots of a GPU one physical core can feed with spectrograms (measured: docs/benchmarks.md, CPU).
    slots_per_core: int = Field(default=32, ge=1)
    #: What decides the slots of a GPU: memory, fixed:N, or a module of your own, see scheduler/capacity/policies.
    slot_policy: str = "memory"
    exclude_gpus: tuple[str, ...] = ()  # indices or UUIDs

    #: CUDA's own variable, without our prefix: GPUs that it hides are not the fleet's; empty, it hides all.
    cuda_visible_devices: str | None = Field(default_factory=lambda: os.environ.get("CUDA_VISIBLE_DEVICES"))

    # Rhythm, in seconds
    autoscale_interval: float = Field(default=5.0, gt=0)
    dispatch_interval: float = Field(default=2.0, gt=0)
    #: Waiting jobs that are handed nothing for this long rise by one priority.
    ageing: float = Field(default=60.0, gt=0)
    recovery_interval: float = Field(default=5.0, gt=0)
    janitor_interval: float = Field(default=600.0, gt=0)
    heartbeat_interval: float = Field(default=2.0, gt=0)
    heartbeat_timeout: float = Field(default=10.0, gt=0)
    #: A running segment must show progress within this time or it is given to another slot.
    lease: float = Field(default=120.0, gt=0)
    #: An assigned segment must start within this time or it is assigned anew.
    assign_timeout: float = Field(default=30.0, gt=0)
    #: A node that is told to stop lets running segments finish for this long, then hands them back.
    drain_timeout: float = Field(default=20.0, ge=0)
    #: An engine that answers nothing for this long is killed and started anew.
    engine_timeout: float = Field(default=300.0, gt=0)
    model_idle_timeout: float = Field(default=900.0, gt=0)

    # This process
    #: Which of the host's GPUs a node serves.
    gpu_index: int = Field(default=0, ge=0)
    #: The UUID of that GPU, needed for a MIG slice alone; None: the driver's GPU of that index.
    gpu_uuid: str | None = None
    #: What a node computes on; auto: a GPU where NVIDIA's driver runs.
    device: Literal["auto", "cuda", "cpu"] = "auto"
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)] = "INFO"

    @field_validator("heartbeat_timeout")
    @classmethod
    def _outlasts_a_pause(cls, timeout: float, others: ValidationInfo) -> float:
        """Else a GPU counts as dead between two heartbeats, and its segments are taken from it."""
        if timeout <= others.data.get("heartbeat_interval", 0.0):
            raise ValueError("should be longer than WHISPER_FLEET_HEARTBEAT_INTERVAL")
        return timeout

    @property
    def spool(self) -> Path:
        """Where planned segments' audio is kept."""
        return self.spool_dir or self.var_dir / "spool"

    @property
    def models(self) -> Path:
        """The model directory with `~` resolved; SetupError where nobody knows what `~` is."""
        try:
            return self.model_dir.expanduser()
        except RuntimeError:
            raise SetupError(what="a home directory", fix="set WHISPER_FLEET_MODEL_DIR") from None


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The settings of this process, read from the environment the first time; BadSetting names what is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name, reason = first["loc"][0], first["msg"].removeprefix("Value error, ")
        reason = _LIST if first["type"] == "tuple_type" else reason
    except SettingsError as error:  # what is no JSON at all
        name, reason = str(error).split('"')[1], _LIST
    raise BadSetting(name=f"{_PREFIX}{str(name).upper()}", reason=reason)


def unknown_names() -> list[str]:
    """Variables with our prefix that are no setting: mistyped, most likely, and without effect."""
    ours = [name for name in os.environ if name.upper().startswith(_PREFIX)]
    return sorted(name for name in ours if name.upper().removeprefix(_PREFIX).lower() not in Settings.model_fields)
