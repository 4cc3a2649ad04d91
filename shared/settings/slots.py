"""How many slots a GPU gets."""

from __future__ import annotations

import os

from pydantic import Field
from pydantic_settings import BaseSettings

from whisper_fleet.shared.fields import RELOAD


class Slots(BaseSettings):
    """How many slots a GPU gets."""

    memory_safety_margin: float = Field(
        default=0.2,
        ge=0.0,
        lt=1.0,
        json_schema_extra=RELOAD,
        description="Fraction of a GPU's available memory that slots leave free.",
    )
    min_concurrent_tasks: int = Field(
        default=1,
        ge=0,
        json_schema_extra=RELOAD,
        description="Minimum slots of a GPU on which the model fits, however little memory is left.",
    )
    max_concurrent_limit: int = Field(
        default=256,
        ge=1,
        json_schema_extra=RELOAD,
        description="Maximum slots of a GPU, whatever its memory; a batch of more rows gains large models little.",
    )
    slots_per_core: int = Field(
        default=32,
        ge=1,
        json_schema_extra=RELOAD,
        description="Slots of a GPU that one physical core can feed with spectrograms; see docs/benchmarks/cpu.md.",
    )
    slot_policy: str = Field(
        default="memory",
        json_schema_extra=RELOAD,
        description="What decides the slots of a GPU: memory, fixed:N, or a module of a third party"
        " (whisper_fleet.scheduler.capacity.policies).",
    )
    feeders: int | None = Field(
        default=None,
        ge=0,
        description="Processes of a GPU node that transcribe beside its main process; left out, one per 64 slots, and"
        " at least four cores for each; 0: the main process transcribes.",
    )
    exclude_gpus: tuple[str, ...] = Field(
        default=(), description="Indices or UUIDs of GPUs that the fleet leaves alone."
    )
    cuda_visible_devices: str | None = Field(
        default_factory=lambda: os.environ.get("CUDA_VISIBLE_DEVICES"),
        description="CUDA's own variable CUDA_VISIBLE_DEVICES, without the prefix: GPUs that it hides are not the"
        " fleet's; if it is empty, all are hidden.",
    )
