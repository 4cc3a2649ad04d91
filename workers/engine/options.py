"""How an engine is set up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from whisper_fleet.shared.models import CrossAttention
from whisper_fleet.workers.engine.batch.policy import BatchPolicy


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an engine is set up."""

    model_dir: Path
    device: str  # "cuda" or "cpu"
    slots: int = 1
    idle_timeout: float = 900.0  # seconds until a model without sessions is unloaded
    reproducible: bool = False  # the same audio gives the same bytes whatever else is running
    cross_attention: CrossAttention = "auto"
    bit_exact_encoder: bool = False  # the encoder computes whisper's numbers to the last bit, a little slower
    model_roots: tuple[Path, ...] = ()  # where, besides model_dir, a checkpoint may be that is named by its path
    policy: BatchPolicy | None = None  # None: the policy for this device
