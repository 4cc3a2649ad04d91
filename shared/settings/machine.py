"""What this machine runs, and what one process of it needs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings

from whisper_fleet.shared.fields import RELOAD
from whisper_fleet.shared.names import Role


class Machine(BaseSettings):
    """What this machine runs, and what one process of it needs."""

    roles: tuple[Role, ...] = Field(
        default=(),
        description="Roles that `whisper-fleet up` runs on this machine: scheduler, intake, gpu, http, flower; empty:"
        " all.",
    )
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
    health_address: str = Field(default="127.0.0.1", description="Address of the port for health checks.")
    health_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port at which beat, scheduler, host, intake or a GPU node answers /livez and /readyz, and"
        " `whisper-fleet up` for all of its processes; left out or 0: none.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Form of log lines; json: one object per line, see docs/guide/operating.md."
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)] = Field(
        default="INFO", json_schema_extra=RELOAD, description="Minimum level of what is logged."
    )
