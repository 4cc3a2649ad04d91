"""The classes of the guide "Whisper 动态并发处理指南", on top of FleetClient.

Programs written for them need new import lines only:

    from whisper_fleet.legacy import QueueManager, TranscriptionProcessor

    processor = TranscriptionProcessor(queue_manager=QueueManager())
    processor.add_task_to_concurrent_queue({"task_id": "talk", "file_path": "/data/talk.mp3", "model_name": "base"})
    print(processor.get_concurrent_status())
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whisper_fleet.client import FleetClient
from whisper_fleet.errors import BadOption, JobNotFound
from whisper_fleet.shared.audio.sources import is_url
from whisper_fleet.shared.wire import GpuStatus, JobProgress


class QueueManager:
    """Submits the tasks of one caller under its own ids, and knows which of them have not ended."""

    def __init__(self, client: FleetClient | None = None) -> None:
        self.client = client or FleetClient()
        self._open: dict[str, None] = {}  # in the order in which they were added

    def add(self, task: dict[str, Any]) -> str:
        """Submit a task, which holds the keywords of a job and optionally `task_id`; returns its id.

        Relative paths are resolved against this process's working directory. A RequestError names what is wrong.
        """
        request = dict(task)
        job = request.pop("task_id", None)
        for name in ("file_path", "output_path"):
            if isinstance(request.get(name), str) and not is_url(request[name]):
                request[name] = str(Path(request[name]).absolute())
        if job is not None and not isinstance(job, str):
            raise BadOption(name="task_id", reason=f"{job!r} is not a text")
        job = self.client.submit(job=job, **request)
        self._open[job] = None
        return job

    def open_tasks(self) -> dict[str, JobProgress]:
        """Return the progress of this caller's tasks that have not ended, in the order in which they were added."""
        unfinished = {}
        for job in list(self._open):
            try:
                record = self.client.record(job)
            except JobNotFound:
                del self._open[job]
                continue
            if record.state.is_final:
                del self._open[job]
            else:
                unfinished[job] = self.client.status(job)
        return unfinished


class TranscriptionProcessor:
    """Adds tasks to the fleet and reports how many run; the fleet itself decides how many may run at once."""

    def __init__(self, queue_manager: QueueManager | None = None) -> None:
        self._queue = queue_manager or QueueManager()

    def add_task_to_concurrent_queue(self, task: dict[str, Any]) -> str:
        """Submit a task to the fleet and return its id, see `QueueManager.add`."""
        return self._queue.add(task)

    def get_concurrent_status(self) -> dict[str, int]:
        """Return the fleet's slots, and how many of this caller's tasks run and wait.

        The keys are `max_concurrent_tasks`, `active_tasks` and `queue_size`.
        """
        return self._concurrent(self._queue.client.gpus(), self._queue.open_tasks())

    def get_system_status(self) -> dict[str, Any]:
        """Return the GPUs, the concurrency, and this caller's open tasks with their progress.

        The keys are `gpu_status` (a list), `concurrent_status` (see above) and `active_tasks` (a dict by task id).
        """
        gpus, tasks = self._queue.client.gpus(), self._queue.open_tasks()
        return {
            "gpu_status": [gpu.model_dump() for gpu in gpus],
            "concurrent_status": self._concurrent(gpus, tasks),
            "active_tasks": {job: progress.model_dump() for job, progress in tasks.items()},
        }

    def cleanup_resources(self) -> None:
        """Close every connection; submitted tasks go on."""
        self._queue.client.close()

    def _concurrent(self, gpus: list[GpuStatus], tasks: dict[str, JobProgress]) -> dict[str, int]:
        active = sum(progress.stage != "queued" for progress in tasks.values())
        slots = sum(gpu.slots for gpu in gpus)
        return {"max_concurrent_tasks": slots, "active_tasks": active, "queue_size": len(tasks) - active}
