"""What `doctor` reports of the GPU nodes that are up on its host."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from tests.support.gpu_status import gpu_status
from whisper_fleet.cli.machine.doctor import pool_findings
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings

pytestmark = pytest.mark.integration


def test_the_doctor_sees_a_gpu_node_whose_pool_nothing_resizes(redis: Redis, redis_url: str) -> None:
    settings, now = Settings(redis_url=redis_url), time.time()
    GpuRegistry(redis).beat(gpu_status(settings.host, started=now - 3600, heartbeat=now))
    GpuRegistry(redis).beat(gpu_status(settings.host, 1, started=now, heartbeat=now))  # its first tick is to come
    GpuRegistry(redis).beat(gpu_status("another-host", started=now - 3600, heartbeat=now))
    (found,) = pool_findings(settings)
    assert (found.kind, f"{settings.host}.0," in found.text, "serve host" in found.text) == ("bad", True, True)
    redis.set(keys.slot_decision(f"{settings.host}.0"), "{}", ex=60)
    assert list(pool_findings(settings)) == []
