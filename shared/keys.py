"""Every Redis key of the fleet, with type, lifetime and writer. Celery's own keys are Celery's business."""

from __future__ import annotations

PREFIX = "fleet"

# --- registry ------------------------------------------------------------------------------------------
#: set of GPU ids that ever sent a heartbeat; recovery removes those long dead. Writer: shared.fleet.
GPUS = f"{PREFIX}:gpus"


def gpu(gpu_id: str) -> str:
    """string, GpuStatus as JSON; no expiry, the heartbeat inside says how old it is. Writer: the node."""
    return f"{PREFIX}:gpu:{gpu_id}"
