"""A real GPU node process on the CPU, and a stand-in for the rest of the fleet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from celery import Celery
from redis import Redis

from tests.support.process_tree import descendants
from tests.support.waiting import wait_until
from whisper_fleet.shared import names
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import Assignment, GpuStatus, JobPlan, SegmentMessage, SegmentPlan, TranscribeRequest

HOST = "testhost"
GPU_NAME = names.GpuName(HOST, 0)
GPU, QUEUE, NODE = str(GPU_NAME), GPU_NAME.queue, str(GPU_NAME.node())


@dataclass
class GpuNodeHarness:
    """Starts the node of one GPU, assigns segments to it, and ends what it started."""

    redis_url: str
    redis: Redis
    directory: Path
    model: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.app = Celery("client", broker=self.redis_url, backend=self.redis_url, set_as_current=False)
        self.ledger = Ledger(self.redis, Settings(max_attempts=3, job_retention=3600.0))
        self.log = self.directory / "node.log"

    def start(self, slots: int = 1, **settings: object) -> subprocess.Popen[bytes]:
        """Start a node and wait until it and its engine answer; a broadcast before that is lost."""
        own = {
            "REDIS_URL": self.redis_url,
            "HOST": HOST,
            "VAR_DIR": self.directory / "var",
            "MODEL_DIR": self.model.parent,
            "DEVICE": "cpu",
            "HEARTBEAT_INTERVAL": 0.2,
            **settings,
        }
        environment = {
            **os.environ,
            **{f"WHISPER_FLEET_{name}": str(value) for name, value in own.items()},
            "CELERY_CUSTOM_WORKER_POOL": "whisper_fleet.workers.pool.celery_pool:SlotPool",
            "OMP_NUM_THREADS": "1",
        }
        celery = [sys.executable, "-m", "celery", "-A", "whisper_fleet.workers.app"]
        command = [*celery, "worker", "-P", "custom", "-n", NODE]
        command += ["-Q", QUEUE, "-c", str(slots), "-l", "INFO"]
        began = time.time()
        with self.log.open("ab") as out:
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        self.processes.append(process)
        wait_until(lambda: self.is_ready(began) or process.poll() is not None, 60)
        assert process.poll() is None, self.log.read_text()
        wait_until(lambda: self.app.control.ping([NODE], timeout=0.5))
        return process

    def status(self) -> GpuStatus | None:
        return next(iter(GpuRegistry(self.redis).gpus(time.time(), 3.0)), None)

    def is_ready(self, since: float = 0.0) -> bool:
        status = self.status()
        return status is not None and status.ready and status.started >= since

    def current(self) -> GpuStatus:
        """Return the newest heartbeat of the node, which must be up."""
        status = self.status()
        assert status is not None
        return status

    def engine_pid(self) -> int:
        """Return the engine's pid from the registry, which may be a moment late."""
        status = self.status()
        assert status is not None and status.engine_pid is not None
        return status.engine_pid

    def engine(self) -> psutil.Process:
        return psutil.Process(self.engine_pid())

    def job(self, request: TranscribeRequest, cuts: Sequence[float]) -> str:
        """Plan a job with a segment between each two cuts (seconds), and return its id."""
        job = str(uuid.uuid4())
        segments = [SegmentPlan(index=index, start=start, end=end) for index, (start, end) in enumerate(pairwise(cuts))]
        assert self.ledger.accept(job, request, time.time())
        assert self.ledger.plan(job, JobPlan(duration=cuts[-1], segments=tuple(segments)), time.time())
        return job

    def spooled(self, segments: int, seconds: float, **fields: Any) -> str:
        """Plan a job over noise that is in the spool, so that no ffmpeg has to run, and return its id."""
        job = str(uuid.uuid4())
        pcm = np.random.default_rng(0).integers(-3000, 3000, int(16000 * seconds), np.int16).tobytes()
        spool = Spool(Settings(var_dir=self.directory / "var"))
        plans = [
            SegmentPlan(
                index=index,
                start=index * seconds,
                end=(index + 1) * seconds,
                spool=spool.write(job, index, pcm),
            )
            for index in range(segments)
        ]
        options = {"temperature": 0.0, **fields.pop("options", {})}
        request = TranscribeRequest(
            file_path="/nowhere.wav", model_name=str(self.model), language="en", options=options, **fields
        )
        assert self.ledger.accept(job, request, time.time())
        assert self.ledger.plan(job, JobPlan(duration=segments * seconds, segments=tuple(plans)), time.time())
        return job

    def assign(self, job: str, segment: int, **options: Any) -> SegmentMessage:
        """Assign a segment as the dispatcher does, without checking for a free slot."""
        message = SegmentMessage(job=job, segment=segment, token=str(uuid.uuid4()))
        assignment = Assignment(job=job, segment=segment, gpu=GPU, token=message.token, slots=10_000)
        assert self.ledger.assign([assignment], time.time() + 30, time.time()) == [True]
        self.send(message, **options)
        return message

    def send(self, message: SegmentMessage, **options: Any) -> None:
        fields: dict[str, Any] = {"kwargs": message.model_dump(), "task_id": message.token, "queue": QUEUE}
        self.app.send_task(names.TRANSCRIBE_SEGMENT, **fields, **options)

    def record(self, job: str) -> JobRecord:
        return self.ledger.job(job)

    def assembles(self) -> int:
        """Return how many times the end of a job was published."""
        return int(self.redis.llen(names.ASSEMBLE_QUEUE))

    def attempts(self, job: str) -> set[int]:
        """Return the numbers of the attempts at the job's segments."""
        records: list[Any] = self.redis.hvals(keys.segments(job))
        return {int(json.loads(record)["attempt"]) for record in records}

    def waiting(self, job: str) -> list[int]:
        waiting: list[Any] = self.redis.zrange(keys.waiting(job), 0, -1)
        return [int(segment) for segment in waiting]

    def close(self) -> None:
        children = [child for node in self.processes if node.poll() is None for child in descendants(node.pid)]
        for process in self.processes:
            process.kill()
            process.wait()
        _, alive = psutil.wait_procs(children, timeout=10)
        self.app.close()
        assert not alive, f"left behind: {alive}"


def stop(process: subprocess.Popen[bytes], timeout: float = 30.0) -> int:
    """Send SIGTERM, wait for the node, and return its exit status."""
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout)
