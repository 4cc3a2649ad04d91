"""Fixtures for the tests of a real GPU node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.support.gpu_node import GpuNodeHarness


@pytest.fixture
def nodes(redis_url: str, redis: Redis, tmp_path: Path, tiny_model: Path) -> Iterator[GpuNodeHarness]:
    """What starts GPU nodes and ends them with the test."""
    nodes = GpuNodeHarness(redis_url, redis, tmp_path, tiny_model)
    try:
        yield nodes
    finally:
        nodes.close()
