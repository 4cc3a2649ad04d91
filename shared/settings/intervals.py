"""How often a fleet looks after itself, and how long it waits."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from whisper_fleet.shared.fields import RELOAD, SECONDS


class Intervals(BaseSettings):
    """How often a fleet looks after itself, and how long it waits."""

    autoscale_interval: float = Field(
        default=5.0,
        gt=0,
        json_schema_extra=SECONDS | RELOAD,
        description="Interval at which slots follow the free memory.",
    )
    dispatch_interval: float = Field(
        default=2.0,
        gt=0,
        json_schema_extra=SECONDS | RELOAD,
        description="Maximum interval between two looks for segments to hand out; events cause more.",
    )
    ageing: float = Field(
        default=60.0,
        gt=0,
        json_schema_extra=SECONDS | RELOAD,
        description="A waiting job that is handed no slot for this long rises by one priority.",
    )
    recovery_interval: float = Field(
        default=2.0, gt=0, json_schema_extra=SECONDS | RELOAD, description="Interval at which lost work is looked for."
    )
    janitor_interval: float = Field(
        default=600.0,
        gt=0,
        json_schema_extra=SECONDS | RELOAD,
        description="Interval at which leftovers of the spool and the ledger are removed.",
    )
    heartbeat_interval: float = Field(
        default=2.0, gt=0, json_schema_extra=SECONDS, description="Interval at which a GPU node reports itself."
    )
    heartbeat_timeout: float = Field(
        default=10.0,
        gt=0,
        json_schema_extra=SECONDS | RELOAD,
        description="A GPU without a heartbeat for this long is down; longer than the heartbeat interval.",
    )
    lease: float = Field(
        default=120.0,
        gt=0,
        json_schema_extra=SECONDS | RELOAD,
        description="A running segment that shows no progress for this long is given to another slot.",
    )
    assign_timeout: float = Field(
        default=10.0,
        gt=0,
        json_schema_extra=SECONDS | RELOAD,
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

    @field_validator("heartbeat_timeout")
    @classmethod
    def _is_longer_than_an_interval(cls, timeout: float, others: ValidationInfo) -> float:
        """Refuse a timeout after which a GPU would count as down between two heartbeats, and lose its segments."""
        if timeout <= others.data.get("heartbeat_interval", 0.0):
            raise ValueError("should be longer than WHISPER_FLEET_HEARTBEAT_INTERVAL")
        return timeout
