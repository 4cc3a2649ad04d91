"""Part c of the benchmark of the scheduler: two GPUs, two nodes, two pinned queues, and one node that dies."""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import psutil

from benchmarks.gpu.fleet.live import LiveFleet, until
from benchmarks.gpu.fleet.load import Load
from benchmarks.gpu.fleet.neighbour import Bench, Check
from whisper_fleet.shared import names
from whisper_fleet.shared.ledger import keys

_SPREAD = 0.1


def two_gpus(bench: Bench, jobs: int) -> dict[str, Any]:
    """Measure the spread over two GPUs, `gpu_ids=["1"]`, and how the work of a killed node ends."""
    fleet = bench.fleet
    warm = bench.load()
    warm.add(jobs)
    until("slots on both GPUs", lambda: _both_are_full(fleet), bench.plan.warm)
    warm.end(bench.plan.drain)
    checks, outcomes = [_own_queues(fleet)], {}
    for name, part in (("spread", _spread), ("pinned", _pinned), ("killed", _killed)):
        load = bench.load()
        found = part(bench, load, jobs)
        outcome = load.outcome()
        outcomes[name] = asdict(outcome)
        done = Check(what=f"{name}: done", wanted="all", seen=outcome.account, holds=outcome.is_whole)
        checks += [*found, done]
    return {"checks": [asdict(check) for check in checks], "outcomes": outcomes}


def _own_queues(fleet: LiveFleet) -> Check:
    """Check that each node reads its own queue only."""
    active = fleet.app.control.inspect(timeout=2.0).active_queues() or {}
    host = fleet.settings.host
    nodes = {str(names.GpuName(host, index).node()): names.GpuName(host, index).queue for index in (0, 1)}
    read = {node: [queue["name"] for queue in active.get(node, [])] for node in nodes}
    pinned = all(read[node] == [queue] for node, queue in nodes.items())
    return Check(what="queues of the nodes", wanted="one each", seen=json.dumps(list(read.values())), holds=pinned)


def _spread(bench: Bench, load: Load, jobs: int) -> list[Check]:
    load.add(2 * jobs)
    load.end(bench.plan.drain)
    counts = load.outcome().by_gpu
    fewest, most = min(counts.values(), default=0), max(counts.values(), default=0)
    even = len(counts) == 2 and most <= fewest * (1 + _SPREAD)
    seen = json.dumps(list(counts.values()))
    return [Check(what="segments of each GPU", wanted="within 10 %", seen=seen, holds=even)]


def _pinned(bench: Bench, load: Load, jobs: int) -> list[Check]:
    load.add(max(jobs // 4, 1), gpu_ids=["1"])
    load.end(bench.plan.drain)
    asked = str(names.GpuName(bench.fleet.settings.host, 1))
    counts = load.outcome().by_gpu
    obeyed = list(counts) == [asked]
    return [Check(what='segments with gpu_ids ["1"]', wanted=f"{asked} alone", seen=json.dumps(counts), holds=obeyed)]


def _killed(bench: Bench, load: Load, jobs: int) -> list[Check]:
    """Kill node 1 while it works, and again whenever its supervisor restarts it."""
    fleet, victim = bench.fleet, str(names.GpuName(bench.fleet.settings.host, 1))
    load.add(jobs)
    until("work on the node to be killed", lambda: fleet.redis.zcard(keys.active(victim)) >= 2, bench.plan.warm)
    over = threading.Event()
    killer = threading.Thread(target=_keep_dead, args=(fleet, over), daemon=True)
    held = [message for message, running in fleet.ledger.overdue(victim, float("inf")) if running]
    killer.start()
    try:
        load.end(bench.plan.drain)
    finally:
        over.set()
        killer.join()
    ended_on = Counter(fleet.ledger.results(message.job)[message.segment].gpu for message in held)
    moved = bool(held) and all(gpu != victim for gpu in ended_on)
    seen = json.dumps(dict(ended_on))
    return [Check(what="segments that ran on the killed node ended on", wanted="the other", seen=seen, holds=moved)]


def _keep_dead(fleet: LiveFleet, over: threading.Event) -> None:
    """Send SIGKILL until the process is gone."""
    while not over.wait(0.05):
        node = fleet.node(1)
        if node is not None:
            with suppress(psutil.Error):
                node.kill()


def _both_are_full(fleet: LiveFleet) -> bool:
    """Return whether both GPUs have their slots and the model."""
    for index in (0, 1):
        status, decision = fleet.gpu(index), fleet.decision(index)
        if status is None or decision is None or not status.models or status.slots != decision.wanted:
            return False
    return True
