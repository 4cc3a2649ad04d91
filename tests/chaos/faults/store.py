"""Redis that is killed, frozen, full, refusing, unreachable, replaced, or set back to a backup."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from redis import Redis

from tests.chaos.faults.staging import restarted_with
from tests.chaos.rows import Row, add, row
from tests.chaos.scene.scene import Scene
from tests.chaos.scene.store import Store
from tests.support import refusals
from tests.support.waiting import wait_until

_REFUSES_SECONDS = 30.0
_REFUSALS: dict[str, Callable[[Redis], AbstractContextManager[None]]] = {
    "is full": refusals.full,
    "cannot save (MISCONF)": refusals.disk_full,
    "is read-only": refusals.replica,
    "denies writes (ACL)": refusals.forbidden,
}


def _refuse(refusing: Callable[[Redis], AbstractContextManager[None]], scene: Scene) -> None:
    with scene.store.client() as client, refusing(client):
        time.sleep(_REFUSES_SECONDS)


for _name, _refusing in _REFUSALS.items():
    add(Row(name=f"Redis {_name} for 30 s", fault=partial(_refuse, _refusing)))


@row("Redis killed, back after 5 s")
def killed(scene: Scene) -> None:
    scene.store.kill()
    time.sleep(5.0)
    scene.store.start()


@row("Redis killed five times")
def killed_often(scene: Scene) -> None:
    for _ in range(5):
        scene.store.kill()
        scene.store.start()
        time.sleep(4.0)


@row("Redis frozen for 40 s")
def frozen(scene: Scene) -> None:
    process = scene.store.process
    process.suspend()
    time.sleep(40.0)
    process.resume()


@row("every connection killed every 2 s for 30 s")
def connections_killed(scene: Scene) -> None:
    for _ in range(15):
        for kind in ("normal", "pubsub"):
            scene.store.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        time.sleep(2.0)


@row("disk of Redis full for 20 s", needs=("mount",))
def disk_full(scene: Scene) -> None:
    with scene.disk.full():
        time.sleep(20.0)


@row("Redis unreachable for ten minutes", needs=("network",), is_slow=True)
def unreachable(scene: Scene) -> None:
    assert scene.network is not None
    for host in scene.hosts:
        scene.network.cut(host.name)
    time.sleep(600.0)
    for host in scene.hosts:
        scene.network.mend(host.name)


@row("Redis replaced by its replica")
def replaced(scene: Scene) -> None:
    """The primary dies, and its replica is started at its address, with what it had received by then."""
    primary = scene.store
    replica = Store(scene.disk.path / "replica", primary.address)
    replica.start("--replicaof", primary.address, str(primary.port))
    wait_until(lambda: replica.info("replication", "master_link_status") == "up", 30)
    time.sleep(3.0)
    primary.kill()
    replica.command("REPLICAOF", "NO", "ONE")
    replica.save(scene.folder / "promoted")
    replica.kill()
    primary.restore(scene.folder / "promoted")
    primary.start()
    shutil.rmtree(replica.folder)


@row(
    "Redis restored from an old backup",
    forgets=True,
    late_share=0.5,
    staging=partial(restarted_with, JANITOR_INTERVAL=2),  # it removes the audio of the jobs that are forgotten
)
def restored(scene: Scene) -> None:
    """Jobs that ended since the backup run again, and those that were submitted since are unknown."""
    backup = scene.folder / "backup"
    scene.store.save(backup)
    scene.submit_rest()
    time.sleep(10.0)
    scene.store.kill()
    scene.store.restore(backup)
    scene.store.start()
    shutil.rmtree(backup)
