"""The only reader of the environment: each process calls `load_settings()` once and passes the values on."""

from __future__ import annotations

import os
import re
import socket
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict, SettingsError

from whisper_fleet.shared.errors import BadSetting, SetupError
from whisper_fleet.shared.fields import BYTES, SECONDS, ExpandedPath, SegmentSeconds
from whisper_fleet.shared.http.settings import HttpSettings
from whisper_fleet.shared.models import CrossAttention, Precision

_PREFIX = "WHISPER_FLEET_"
_LIST = 'a list is JSON, such as ["/data", "/media"]'


def _host_name() -> str:
    """Return this host's name as one DNS label: dots would split the queue name `gpu.<host>.<index>`."""
    return socket.gethostname().split(".")[0].lower()


def _redis_url(url: str) -> str:
    """Accept what redis-py, Celery's broker and its result backend all understand."""
    if not re.fullmatch(r"rediss?://[^/?#\s]*(/\d*)?(\?\S+)?", url):
        form = "should be redis://[:password@]host[:port][/database]"
        raise ValueError(f"{form}, with %2F, %3F and %23 for / ? and # in a password")
    if url.startswith("rediss") and not re.search(r"[?&]ssl_cert_reqs=(required|optional|none)\b", url):
        raise ValueError("rediss:// needs ?ssl_cert_reqs=required")
    if urlsplit(url).port == 0:  # raises ValueError itself if it is not a port
        raise ValueError("Port out of range 1-65535")
    return url


class Settings(HttpSettings):
    """Every setting of the fleet. A variable WHISPER_FLEET_<NAME> that is not empty overrides the default.

    The unit of a number is in its field: the names are older than this rule, and stay as they are.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        protected_namespaces=(),
        coerce_numbers_to_str=True,  # EXCLUDE_GPUS=[0]
        allow_inf_nan=False,
    )

    # --- where things are ---
    redis_url: Annotated[str, AfterValidator(_redis_url)] = Field(
        default="redis://127.0.0.1:6379/0",
        description="Redis of the fleet: broker, results and ledger; left out, `whisper-fleet up` starts its own.",
    )
    host: str = Field(
        default_factory=_host_name,
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

    # --- jobs ---
    default_model: str = Field(default="base", description="Model of requests that name none.")
    default_precision: Precision = Field(default="float16", description="Precision of requests that name none.")
    cross_attention: CrossAttention = Field(
        default="auto",
        description="How encoded audio is kept and attended to; auto: the form that suits the GPU.",
    )
    reproducible: bool = Field(
        default=False,
        description="Give the same bytes for the same audio whatever else an engine is computing; that costs a third"
        " to a half of a GPU's speed: see docs/benchmarks/engine.md.",
    )
    segment_duration: SegmentSeconds = Field(
        default=300.0, description="Maximum length of the pieces into which a file is cut."
    )
    cutter: str = Field(
        default="pause",
        description="How a file is cut into segments: pause, voice (where nobody speaks), or the name of an extension"
        " (whisper_fleet.scheduler.intake.cutters).",
    )
    max_attempts: int = Field(
        default=3, ge=1, description="Attempts at a segment, and at planning or assembling a job, before the job fails."
    )
    media_roots: tuple[ExpandedPath, ...] = Field(
        default=(),
        description="Directories that file_path and output_path must be below; empty: any that the process may use.",
    )
    url_prefixes: tuple[str, ...] = Field(
        default=(), description="URL prefixes that file_path may start with; empty: URLs are refused."
    )
    callback_prefixes: tuple[str, ...] = Field(
        default=(), description="URL prefixes that callback_url may start with; empty: callbacks are refused."
    )
    job_retention: float = Field(
        default=7 * 86400.0,
        gt=0,
        json_schema_extra=SECONDS,
        description="How long a finished job and its result are kept.",
    )
    spool_limit_bytes: int = Field(
        default=50 * 2**30, ge=0, json_schema_extra=BYTES, description="Maximum size of the spool."
    )

    # --- slots ---
    memory_safety_margin: float = Field(
        default=0.2, ge=0.0, lt=1.0, description="Fraction of a GPU's available memory that slots leave free."
    )
    min_concurrent_tasks: int = Field(
        default=1, ge=0, description="Minimum slots of a GPU on which the model fits, however little memory is left."
    )
    max_concurrent_limit: int = Field(default=64, ge=1, description="Maximum slots of a GPU.")
    slots_per_core: int = Field(
        default=32,
        ge=1,
        description="Slots of a GPU that one physical core can feed with spectrograms; see docs/benchmarks/cpu.md.",
    )
    slot_policy: str = Field(
        default="memory",
        description="What decides the slots of a GPU: memory, fixed:N, or a module of a third party"
        " (whisper_fleet.scheduler.capacity.policies).",
    )
    exclude_gpus: tuple[str, ...] = Field(
        default=(), description="Indices or UUIDs of GPUs that the fleet leaves alone."
    )
    cuda_visible_devices: str | None = Field(
        default_factory=lambda: os.environ.get("CUDA_VISIBLE_DEVICES"),
        description="CUDA's own variable CUDA_VISIBLE_DEVICES, without the prefix: GPUs that it hides are not the"
        " fleet's; if it is empty, all are hidden.",
    )

    # --- intervals and timeouts ---
    autoscale_interval: float = Field(
        default=5.0, gt=0, json_schema_extra=SECONDS, description="Interval at which slots follow the free memory."
    )
    dispatch_interval: float = Field(
        default=2.0,
        gt=0,
        json_schema_extra=SECONDS,
        description="Maximum interval between two looks for segments to hand out; events cause more.",
    )
    ageing: float = Field(
        default=60.0,
        gt=0,
        json_schema_extra=SECONDS,
        description="A waiting job that is handed no slot for this long rises by one priority.",
    )
    recovery_interval: float = Field(
        default=2.0, gt=0, json_schema_extra=SECONDS, description="Interval at which lost work is looked for."
    )
    janitor_interval: float = Field(
        default=600.0,
        gt=0,
        json_schema_extra=SECONDS,
        description="Interval at which leftovers of the spool and the ledger are removed.",
    )
    heartbeat_interval: float = Field(
        default=2.0, gt=0, json_schema_extra=SECONDS, description="Interval at which a GPU node reports itself."
    )
    heartbeat_timeout: float = Field(
        default=10.0,
        gt=0,
        json_schema_extra=SECONDS,
        description="A GPU without a heartbeat for this long is down; longer than the heartbeat interval.",
    )
    lease: float = Field(
        default=120.0,
        gt=0,
        json_schema_extra=SECONDS,
        description="A running segment that shows no progress for this long is given to another slot.",
    )
    assign_timeout: float = Field(
        default=10.0,
        gt=0,
        json_schema_extra=SECONDS,
        description="An assigned segment that has not started after this time is assigned again.",
    )
    drain_timeout: float = Field(
        default=20.0,
        ge=0,
        json_schema_extra=SECONDS,
        description="A node that stops lets its segments finish for this long, then returns them to the queue.",
    )
    engine_timeout: float = Field(
        default=300.0,
        gt=0,
        json_schema_extra=SECONDS,
        description="An engine that answers nothing for this long is killed and restarted.",
    )
    model_idle_timeout: float = Field(
        default=900.0,
        gt=0,
        json_schema_extra=SECONDS,
        description="A model that is not used for this long is unloaded.",
    )

    # --- this process ---
    flower_address: str = Field(
        default="127.0.0.1",
        description="Address at which Flower listens; it asks for no password of its own: see docs/security.md.",
    )
    flower_port: int | None = Field(
        default=None, ge=1, le=65535, description="Port of Flower; left out, 5555, or any free one if that is in use."
    )
    gpu_index: int = Field(default=0, ge=0, description="Index of the host's GPU that a node serves.")
    gpu_uuid: str | None = Field(
        default=None,
        description="UUID of that GPU, needed only for a MIG slice; left out, the driver's GPU of that index.",
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        default="auto", description="What a node computes on; auto: a GPU where NVIDIA's driver runs."
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)] = Field(
        default="INFO", description="Minimum level of what is logged."
    )

    @field_validator("heartbeat_timeout")
    @classmethod
    def _is_longer_than_an_interval(cls, timeout: float, others: ValidationInfo) -> float:
        """Refuse a timeout after which a GPU would count as down between two heartbeats, and lose its segments."""
        if timeout <= others.data.get("heartbeat_interval", 0.0):
            raise ValueError("should be longer than WHISPER_FLEET_HEARTBEAT_INTERVAL")
        return timeout

    @property
    def spool(self) -> Path:
        """Return the directory of the planned segments' audio."""
        return self.spool_dir or self.var_dir / "spool"

    @property
    def uploads(self) -> Path:
        """Return the directory of uploaded files."""
        return self.upload_dir or self.var_dir / "uploads"

    @property
    def models(self) -> Path:
        """Return the model directory with `~` resolved; SetupError where the user has no home."""
        try:
            return self.model_dir.expanduser()
        except RuntimeError:
            raise SetupError(what="a home directory", fix="set WHISPER_FLEET_MODEL_DIR") from None


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """Return the settings of this process, read from the environment once; BadSetting names what is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name, reason = first["loc"][0], first["msg"].removeprefix("Value error, ")
        reason = _LIST if first["type"] == "tuple_type" else reason
    except SettingsError as error:  # a list that is not JSON
        name, reason = str(error).split('"')[1], _LIST
    raise BadSetting(name=f"{_PREFIX}{str(name).upper()}", reason=reason)


def unknown_names() -> list[str]:
    """Return the variables with our prefix that are not settings: most likely mistyped, and without effect."""
    ours = [name for name in os.environ if name.upper().startswith(_PREFIX)]
    return sorted(name for name in ours if name.upper().removeprefix(_PREFIX).lower() not in Settings.model_fields)
