"""The names of every role, queue, node and task of the fleet: no other module spells one out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Role(StrEnum):
    """A part of the fleet that a machine can take; a machine takes any subset."""

    SCHEDULER = "scheduler"  # beat, dispatch, recovery; one of several beats is active
    INTAKE = "intake"  # accepts, decodes and cuts files, and puts transcripts together
    GPU = "gpu"  # a node per GPU
    HTTP = "http"  # OpenAI's audio API
    FLOWER = "flower"  # the web page for operators, and the metrics


# Tasks that a client sends, and that the fleet sends itself.
TRANSCRIBE = "transcribe"  # client -> intake
ASSEMBLE = "assemble"  # ledger -> intake, with task_id = job id
TRANSCRIBE_SEGMENT = "transcribe_segment"  # dispatcher -> GPU node
DISPATCH = "dispatch"  # any process with new work or free slots -> scheduler
RECOVER = "recover"  # beat -> scheduler
CLEAN = "clean"  # beat -> scheduler
AUTOSCALE = "autoscale"  # beat -> the scheduler of the same host

# Queues that do not belong to a GPU.
TRANSCRIBE_QUEUE = "transcribe"
ASSEMBLE_QUEUE = "assemble"  # separate, so that a finished job never waits behind new ones
RESUMED_QUEUE = "transcribe.resumed"  # likewise for jobs that intake put off and now takes up
SCHEDULER_QUEUE = "scheduler"
GPU_QUEUES = "gpu"  # what the names of the GPUs' queues begin with

#: The tasks that each queue carries, by the queue's name up to its first dot, and the keywords of each with their
#: types; None: the task checks what a client sends itself. Only JSON: nodes report their options to Flower.
ACCEPTED_TASKS: dict[str, dict[str, dict[str, str] | None]] = {
    TRANSCRIBE_QUEUE: {TRANSCRIBE: None},
    ASSEMBLE_QUEUE: {ASSEMBLE: {}},
    SCHEDULER_QUEUE: {DISPATCH: {}, RECOVER: {}, CLEAN: {}, AUTOSCALE: {}},
    GPU_QUEUES: {TRANSCRIBE_SEGMENT: {"job": "text", "segment": "number", "token": "text"}},
}
#: Tasks that only the fleet itself sends.
INTERNAL_TASKS = (ASSEMBLE, DISPATCH, RECOVER, CLEAN, AUTOSCALE, TRANSCRIBE_SEGMENT)
#: Every task of the fleet.
TASKS = frozenset(task for tasks in ACCEPTED_TASKS.values() for task in tasks)


@dataclass(frozen=True, order=True)
class GpuName:
    """A GPU of the fleet; `str()` gives its id, `<host>.<index>`, as the ledger and the registry write it."""

    host: str
    index: int  # in NVML's order

    @classmethod
    def parse(cls, gpu_id: str) -> Self:
        """Return the name in an id; a host may contain dots. Raises ValueError if there is no index."""
        host, _, index = gpu_id.rpartition(".")
        return cls(host, int(index))

    def __str__(self) -> str:
        return f"{self.host}.{self.index}"

    @property
    def queue(self) -> str:
        """The queue that only the nodes of this GPU read."""
        return f"gpu.{self}"

    @property
    def selector(self) -> str:
        """The GPU as a request's `gpu_ids` name it, `<host>:<index>`."""
        return f"{self.host}:{self.index}"

    @property
    def engine_socket(self) -> str:
        """The file name of the engine's socket."""
        return f"engine-{self.host}-{self.index}.sock"

    def node(self, worker: int = 0) -> NodeName:
        """Return the name of one of the node processes that serve this GPU."""
        return NodeName(self, worker)


@dataclass(frozen=True, order=True)
class NodeName:
    """A node process that serves a GPU; `str()` gives its Celery node name."""

    gpu: GpuName
    worker: int = 0  # of the node processes of this GPU

    def __str__(self) -> str:
        worker = f".{self.worker}" if self.worker else ""
        return f"gpu{self.gpu.index}{worker}@{self.gpu.host}"


def scheduler_queue(host: str) -> str:
    """Return the queue that only this host's scheduler reads."""
    return f"scheduler.{host}"


def scheduler_node(host: str) -> str:
    """Return the Celery node name of a host's scheduler."""
    return f"scheduler@{host}"


def host_node(host: str) -> str:
    """Return the Celery node name of the process that serves the ticks of a host without a scheduler."""
    return f"host@{host}"


def intake_node(host: str) -> str:
    """Return the Celery node name of a host's intake."""
    return f"intake@{host}"
