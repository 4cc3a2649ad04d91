"""Every Redis key of the fleet, with type, lifetime and writer. Celery's own keys are Celery's business."""

from __future__ import annotations

PREFIX = "fleet"

# --- registry ------------------------------------------------------------------------------------------
#: zset GPU -> the registry's version when it sent its last heartbeat; the janitor removes those long dead.
#: Writer: whisper_fleet.shared.ledger.registry, by scripts, as of the three that follow.
GPUS = f"{PREFIX}:registry"
#: counter, goes up with every heartbeat of the fleet.
GPUS_VERSION = f"{PREFIX}:registry_version"

#: zset GpuStatus as JSON, of GPUs that left -> their last heartbeat; expires an hour after the last one left.
GPUS_LEFT = f"{PREFIX}:left"


def gpu(gpu_id: str) -> str:
    """string, GpuStatus as JSON; no expiry, the heartbeat inside says how old it is."""
    return f"{PREFIX}:gpu:{gpu_id}"


# --- autoscaler ----------------------------------------------------------------------------------------
#: pub/sub channel: every SlotDecision as JSON, for front ends. Writer: the autoscaler.
SLOT_CHANNEL = f"{PREFIX}:slots"
#: hash `<gpu>/<action>/<outcome>/<why>` -> how many decisions ended so; never expires. Writer: the autoscaler.
SLOT_COUNTS = f"{PREFIX}:slot_counts"


def slot_decision(gpu_id: str) -> str:
    """string, the last SlotDecision as JSON; expires when the autoscaler stops. Writer: the autoscaler."""
    return f"{PREFIX}:slot_decision:{gpu_id}"


def resize_lock(node: str) -> str:
    """string, held while a resize of this node is on its way; expires. Writer: the autoscaler."""
    return f"{PREFIX}:resize:{node}"


# --- ledger: jobs --------------------------------------------------------------------------------------
# Writer of all that follows: the scripts in shared/lua, which learn these names from `ledger_names`.
#: zset job -> when it was accepted; the janitor removes those whose hash has expired.
JOBS = f"{PREFIX}:jobs"
#: hash of what the fleet ever did, for its metrics; never expires: `segments_done/<gpu>`, `segments_failed/<gpu>`,
#: `attempts_failed/<gpu>`, `audio_seconds/<gpu>`, `jobs/<final state>`.
COUNTS = f"{PREFIX}:counts"
#: zset job -> when recovery looks whether its next step was lost (planning, assembling).
DUE = f"{PREFIX}:due"


def job(job_id: str) -> str:
    """hash, a job's record; expires `job_retention` after its end.

    Clients choose ids, also `x:plan`, which is not to be the plan of `x`. Escaped in shared/ledger/lua/common.lua, too.
    """
    return f"{PREFIX}:job:{job_id.replace('%', '%25').replace(':', '%3A')}"


def plan(job_id: str) -> str:
    """hash segment -> SegmentPlan as JSON; expires soon after the job's end, as do the three that follow."""
    return f"{job(job_id)}:plan"


def segments(job_id: str) -> str:
    """hash segment -> its record as JSON; no field: waiting, never assigned."""
    return f"{job(job_id)}:segments"


def results(job_id: str) -> str:
    """hash segment -> SegmentResult as JSON."""
    return f"{job(job_id)}:results"


def waiting(job_id: str) -> str:
    """zset of the job's waiting segments, in order; gone when none waits."""
    return f"{job(job_id)}:waiting"


# --- ledger: what waits --------------------------------------------------------------------------------
#: zset lane -> when a segment of it was last handed out, or it came to be.
LANES = f"{PREFIX}:lanes"
#: hash lane -> priority, tenant and Need as JSON.
LANE_NEEDS = f"{PREFIX}:lane_needs"
#: hash of virtual times: `tenants/<priority>`, `tenant/<priority>/<tenant>`, `jobs/<priority>/<tenant>`.
#: And `waiting/<priority>/<tenant>`, how many jobs wait: the clock of the jobs moves at that pace.
CLOCK = f"{PREFIX}:clock"


def lane(lane_id: str) -> str:
    """zset `<accepted>:<job>` -> audio seconds handed out (virtual time); gone when nobody waits in it."""
    return f"{PREFIX}:lane:{lane_id}"


def lane_wait(lane_id: str) -> str:
    """string, why no GPU takes anything of a lane; expires soon. Writer: the dispatcher."""
    return f"{PREFIX}:lane_wait:{lane_id}"


# --- ledger: what runs ---------------------------------------------------------------------------------
#: set of GPU ids that hold, or held, assigned or running segments.
ACTIVE_GPUS = f"{PREFIX}:active_gpus"


def active(gpu_id: str) -> str:
    """zset `<segment>:<job>` assigned to or running on a GPU -> deadline to start or show progress."""
    return f"{PREFIX}:active:{gpu_id}"


# --- recovery ------------------------------------------------------------------------------------------
#: hash GPU -> when it was first seen silent; gone with the silence. Writer: recovery.
SILENT = f"{PREFIX}:silent"


# --- dispatcher ----------------------------------------------------------------------------------------
#: string, there while a `dispatch` message is on its way; expires. Writer: shared.ledger.wakeup, the dispatcher.
DISPATCH_FLAG = f"{PREFIX}:dispatch_on_its_way"


def ledger_names() -> dict[str, str]:
    """The names, or beginnings of names, as the ledger's scripts use them."""
    return {
        "gpus": GPUS,
        "gpus_version": GPUS_VERSION,
        "left": GPUS_LEFT,
        "gpu": gpu(""),
        "jobs": JOBS,
        "counts": COUNTS,
        "due": DUE,
        "job": job(""),
        "lanes": LANES,
        "lane_needs": LANE_NEEDS,
        "clock": CLOCK,
        "lane": lane(""),
        "active_gpus": ACTIVE_GPUS,
        "active": active(""),
    }
