"""Every Redis key of the fleet, with type, expiry and writer; Celery's own keys are not listed."""

from __future__ import annotations

PREFIX = "fleet"

# --- registry ------------------------------------------------------------------------------------------
#: zset GPU -> version of the registry at its last heartbeat; the janitor removes GPUs that are long dead.
#: Writer of this and the next three: whisper_fleet.shared.ledger.registry, by scripts.
GPUS = f"{PREFIX}:registry"
#: counter, incremented by every heartbeat of the fleet.
GPUS_VERSION = f"{PREFIX}:registry_version"

#: zset GpuStatus as JSON, of GPUs that left -> their last heartbeat; expires an hour after the last one left.
GPUS_LEFT = f"{PREFIX}:left"


def gpu(gpu_id: str) -> str:
    """string, GpuStatus as JSON; no expiry, its age follows from the heartbeat in it."""
    return f"{PREFIX}:gpu:{gpu_id}"


# --- beat --------------------------------------------------------------------------------------------------
#: string, the lease of the beat that sends the fleet's ticks; expires. Writer: whisper_fleet.scheduler.beat.
BEAT_LEASE = f"{PREFIX}:beat"
#: zset host that takes ticks of its own -> when it last reported. Writer: whisper_fleet.scheduler.hosts.
HOSTS = f"{PREFIX}:hosts"

# --- autoscaler ----------------------------------------------------------------------------------------
#: pub/sub channel: every SlotDecision as JSON, for front ends. Writer: the autoscaler.
SLOT_CHANNEL = f"{PREFIX}:slots"
#: hash `<gpu>/<action>/<outcome>/<why>` -> number of such decisions; never expires. Writer: the autoscaler.
SLOT_COUNTS = f"{PREFIX}:slot_counts"


def slot_decision(gpu_id: str) -> str:
    """string, the last SlotDecision as JSON; expires after the autoscaler stops. Writer: the autoscaler."""
    return f"{PREFIX}:slot_decision:{gpu_id}"


def resize_lock(node: str) -> str:
    """string, held during a resize of this node; expires. Writer: the autoscaler."""
    return f"{PREFIX}:resize:{node}"


# --- ledger: jobs --------------------------------------------------------------------------------------
# Writer of all that follow: the scripts in shared/ledger/lua, which receive the names from `ledger_names`.
#: zset job -> when it was accepted; the janitor removes jobs whose hash has expired.
JOBS = f"{PREFIX}:jobs"
#: hash of counters since the fleet's beginning, for its metrics; never expires: `segments_done/<gpu>`,
#: `segments_failed/<gpu>`, `attempts_failed/<gpu>`, `audio_seconds/<gpu>`, `jobs/<final state>`,
#: `webhooks/<outcome of an attempt>`.
COUNTS = f"{PREFIX}:counts"
#: zset job -> when recovery checks whether its next step (planning, assembling) was lost.
DUE = f"{PREFIX}:due"
#: zset job -> when it was planned or last looked at: all segments but its first are held until that one has found
#: the job's language.
UNDETECTED = f"{PREFIX}:undetected"
#: zset job -> until when a process of intake has claimed to decode it; its plan is open, so segments are still added.
OPEN = f"{PREFIX}:open"
#: zset `<priority>/<tenant>` -> priority, of those that have parked jobs.
PARKED_CLASSES = f"{PREFIX}:parked_classes"


def parked(priority_and_tenant: str) -> str:
    """zset job -> when it was accepted; its plan is open, and it waits for a decoder."""
    return f"{PREFIX}:parked:{priority_and_tenant}"


def job(job_id: str) -> str:
    """hash, a job's record; expires `job_retention` after its end.

    Clients choose ids, and `x:plan` must not be the plan of `x`. shared/ledger/lua/common.lua escapes them likewise.
    """
    return f"{PREFIX}:job:{job_id.replace('%', '%25').replace(':', '%3A')}"


def plan(job_id: str) -> str:
    """hash segment -> SegmentPlan as JSON; expires soon after the job's end, as do the four that follow."""
    return f"{job(job_id)}:plan"


def segments(job_id: str) -> str:
    """hash segment -> its record as JSON; no field: waiting, never assigned."""
    return f"{job(job_id)}:segments"


def results(job_id: str) -> str:
    """hash segment -> SegmentResult as JSON."""
    return f"{job(job_id)}:results"


def text_so_far(job_id: str) -> str:
    """hash segment -> its text so far, and `<segment>/done` -> 1 once it is complete; see text_so_far.py."""
    return f"{job(job_id)}:text"


def deleted(job_id: str) -> str:
    """string, for a day after a job was deleted before intake had planned it: its message is not a new job."""
    return f"{job(job_id)}:deleted"


def waiting(job_id: str) -> str:
    """zset of the job's waiting segments, in order; absent when none waits."""
    return f"{job(job_id)}:waiting"


# --- ledger: what waits --------------------------------------------------------------------------------
#: zset lane -> when a segment of it was last assigned, or the lane was created.
LANES = f"{PREFIX}:lanes"
#: hash lane -> priority, tenant and Need as JSON.
LANE_NEEDS = f"{PREFIX}:lane_needs"
#: hash of virtual times: `tenants/<priority>`, `tenant/<priority>/<tenant>`, `jobs/<priority>/<tenant>`.
#: Also `waiting/<priority>/<tenant>`, the number of waiting jobs, by which the virtual time of jobs is divided,
#: and `idle/<priority>/<tenant>`, when the janitor first saw that none waits; an hour later it removes all four.
CLOCK = f"{PREFIX}:clock"


def lane(lane_id: str) -> str:
    """zset `<accepted>:<job>` -> virtual time in audio seconds; absent when no job waits in it."""
    return f"{PREFIX}:lane:{lane_id}"


def lane_wait(lane_id: str) -> str:
    """string, why no GPU takes segments of a lane; expires soon. Writer: the dispatcher."""
    return f"{PREFIX}:lane_wait:{lane_id}"


#: set of the lanes whose clients are shown a reason. Writer: the dispatcher, which removes those that go on.
WAITING_LANES = f"{PREFIX}:waiting_lanes"


# --- ledger: what runs ---------------------------------------------------------------------------------
#: set of the ids of GPUs that have, or recently had, assigned or running segments.
ACTIVE_GPUS = f"{PREFIX}:active_gpus"


def active(gpu_id: str) -> str:
    """zset `<segment>:<job>` assigned to or running on a GPU -> deadline to start or report progress."""
    return f"{PREFIX}:active:{gpu_id}"


# --- recovery ------------------------------------------------------------------------------------------
#: hash GPU -> when recovery first saw that its heartbeat is late; removed when it is back. Writer: recovery.
SILENT = f"{PREFIX}:silent"


# --- intake --------------------------------------------------------------------------------------------
#: hash intake node -> when it last reported itself, its processes, and how many messages it accepted; a node that stops
#: removes itself. Writer: intake.
INTAKES = f"{PREFIX}:intakes"
#: zset process of intake that reads a file, or `job/<job>` that is to be read next -> until when it has a place. Writer
#: of this and the next three: scheduler/intake/places, by scripts.
READING = f"{PREFIX}:reading"
#: hash, for each of them, `<since when> <tenant>`.
READING_TENANTS = f"{PREFIX}:reading_tenants"
#: set of the tenants that have deferred jobs.
DEFERRED_TENANTS = f"{PREFIX}:deferred_tenants"
#: hash, since when requests wait and no intake accepts one; absent while they are accepted. Writer: recovery.
STALLED = f"{PREFIX}:stalled"


def deferred(tenant: str) -> str:
    """zset job -> its rank, by priority and then by when it was accepted; it waits until its file may be read."""
    return f"{PREFIX}:deferred:{tenant}"


# --- webhooks ------------------------------------------------------------------------------------------
#: zset event -> when it happened: the deliveries that wait or are being sent. Writer of this and the next six: the
#: scripts, through whisper_fleet.shared.webhooks.deliveries.
WEBHOOKS = f"{PREFIX}:webhooks"
#: zset event -> when it was given up; the janitor removes it after `job_retention`.
WEBHOOKS_FAILED = f"{PREFIX}:webhooks_failed"
#: zset target (a server) -> when its deliveries are to be looked at next.
WEBHOOK_TARGETS = f"{PREFIX}:webhook_targets"
#: hash target -> when an attempt failed; absent after one that succeeded.
WEBHOOK_FAILING = f"{PREFIX}:webhook_failing"
#: hash owner -> SigningSecrets as JSON; the owner "" is the fleet. Writer: whisper_fleet.shared.webhooks.secrets.
WEBHOOK_SECRETS = f"{PREFIX}:webhook_secrets"
#: zset job -> when it ended: a callback that a node of an older version noted. Courier: makes a webhook of it.
CALLBACKS = f"{PREFIX}:callbacks"


def webhook(event: str) -> str:
    """hash, one delivery; removed when it is delivered, or with its entry in WEBHOOKS_FAILED."""
    return f"{PREFIX}:webhook:{event}"


def webhook_due(target: str) -> str:
    """zset event -> when the next attempt is due; absent when none waits."""
    return f"{PREFIX}:webhook_due:{target}"


def webhook_leased(target: str) -> str:
    """zset event -> when the claim of the courier that sends it runs out."""
    return f"{PREFIX}:webhook_leased:{target}"


# --- HTTP server -----------------------------------------------------------------------------------------
# Those of API keys and of waiting clients are in shared/http/keys.py.


def upload(upload_id: str) -> str:
    """string, what keeps an upload: a job's id, until that job has ended, or nothing, until the key expires.

    Writer: whisper_fleet.http.uploads.
    """
    return f"{PREFIX}:upload:{upload_id}"


#: hash GPU -> seconds of audio per second that it reached, slowly forgotten. Writer: scheduler.monitoring.speeds.
SPEEDS = f"{PREFIX}:speeds"
#: zset batch -> when its next step is due; absent when it has ended. Writer of this and the next four:
#: whisper_fleet.http.batches.records.
BATCHES_DUE = f"{PREFIX}:batches_due"


def batches(tenant: str) -> str:
    """zset batch of a tenant -> when it was made; ids of expired batches are removed when it is read."""
    return f"{PREFIX}:batches:{tenant}"


def batch(batch_id: str) -> str:
    """hash, a batch's order, status, moments and counts; expires `job_retention` after its end, as the next two."""
    return f"{PREFIX}:batch:{batch_id}"


def batch_lines(batch_id: str) -> str:
    """hash number of a line -> Line as JSON."""
    return f"{batch(batch_id)}:lines"


def batch_open(batch_id: str) -> str:
    """set of the numbers of lines whose jobs have not ended."""
    return f"{batch(batch_id)}:open"


def file(file_id: str) -> str:
    """string, StoredFile as JSON; expires with the file. Writer of this and the next: whisper_fleet.http.files."""
    return f"{PREFIX}:file:{file_id}"


def files(tenant: str) -> str:
    """zset file of a tenant -> when it was stored; ids of expired files are removed when it is read."""
    return f"{PREFIX}:files:{tenant}"


def resumable(file_id: str) -> str:
    """string, ResumableUpload as JSON; expires when nothing is added. Writer: whisper_fleet.http.uploads.resumable."""
    return f"{PREFIX}:resumable:{file_id}"


def idempotent(digest: str) -> str:
    """string, the job of an Idempotency-Key as JSON; expires. Writer: whisper_fleet.http.jobs.idempotency."""
    return f"{PREFIX}:idempotent:{digest}"


# --- dispatcher ----------------------------------------------------------------------------------------
#: string, present while a `dispatch` message is on its way; expires. Writer: shared.ledger.wakeup, the dispatcher.
DISPATCH_FLAG = f"{PREFIX}:dispatch_on_its_way"
#: string, present for half of `recovery_interval` after a look for lost work; expires. Writer: the task `recover`.
RECOVERY_LOOK = f"{PREFIX}:recovery_look"


def ledger_names() -> dict[str, str]:
    """Return the names, or prefixes of names, that the ledger's scripts use."""
    return {
        "gpus": GPUS,
        "gpus_version": GPUS_VERSION,
        "left": GPUS_LEFT,
        "gpu": gpu(""),
        "jobs": JOBS,
        "counts": COUNTS,
        "due": DUE,
        "undetected": UNDETECTED,
        "open": OPEN,
        "parked": parked(""),
        "parked_classes": PARKED_CLASSES,
        "reading": READING,
        "reading_tenants": READING_TENANTS,
        "deferred": deferred(""),
        "deferred_tenants": DEFERRED_TENANTS,
        "job": job(""),
        "lanes": LANES,
        "lane_needs": LANE_NEEDS,
        "clock": CLOCK,
        "lane": lane(""),
        "active_gpus": ACTIVE_GPUS,
        "active": active(""),
        "webhooks": WEBHOOKS,
        "webhooks_failed": WEBHOOKS_FAILED,
        "webhook_targets": WEBHOOK_TARGETS,
        "webhook_failing": WEBHOOK_FAILING,
        "webhook": webhook(""),
        "webhook_due": webhook_due(""),
        "webhook_leased": webhook_leased(""),
    }
