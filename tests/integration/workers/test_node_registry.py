"""What a real GPU node reports of itself in the registry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.support.gpu_node import NODE, GpuNodeHarness
from tests.support.waiting import wait_until
from whisper_fleet.shared.memory import ELEMENT_BYTES
from whisper_fleet.shared.settings import Settings
from whisper_fleet.workers.link.client import EngineClient
from whisper_fleet.workers.node.engine_command import engine_socket

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def has_slots(where: EngineClient | GpuNodeHarness, size: int) -> bool:
    """Whether the engine, or the registry, reports this number of slots."""
    return (where.stats() if isinstance(where, EngineClient) else where.current()).slots == size


def test_the_engine_and_the_registry_follow_the_pool(nodes: GpuNodeHarness) -> None:
    nodes.start(slots=1)
    engine = EngineClient(engine_socket(Settings(var_dir=nodes.directory / "var", host="testhost")))
    for command, n, size in [("pool_grow", 4, 5), ("pool_shrink", 3, 2)]:
        getattr(nodes.app.control, command)(n, destination=[NODE], reply=True, timeout=10)
        wait_until(partial(has_slots, engine, size))
        wait_until(partial(has_slots, nodes, size))


def test_the_registry_tells_the_form_of_cross_attention(nodes: GpuNodeHarness) -> None:
    nodes.start(CROSS_ATTENTION="absorbed")
    assert set(nodes.current().forms.items()) == {(precision, "absorbed") for precision in ELEMENT_BYTES}


def test_a_node_that_comes_back_offers_nothing_before_its_engine_answers(nodes: GpuNodeHarness) -> None:
    """Otherwise what the dead process held would be placed on this GPU again, and wait until the node is up."""
    nodes.start().kill()
    dead = nodes.current()
    assert dead.ready
    nodes.assign(nodes.spooled(1, 30.0), 0)
    with ThreadPoolExecutor() as threads:
        successor = threads.submit(nodes.start)
        wait_until(lambda: "left behind" in nodes.log.read_text())
        found = nodes.status()
        assert found is None or found.started > dead.started
        successor.result()
