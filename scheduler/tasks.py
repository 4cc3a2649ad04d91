"""The Celery tasks of a scheduler node: each is one tick, sent by beat or by a wake-up."""

from __future__ import annotations

import logging
from functools import lru_cache

from whisper_fleet.scheduler.app import app
from whisper_fleet.scheduler.capacity.autoscaler import Autoscaler
from whisper_fleet.scheduler.dispatch.dispatcher import Dispatcher
from whisper_fleet.scheduler.dispatch_adapter import make_dispatcher
from whisper_fleet.scheduler.monitoring.speeds import note_speeds
from whisper_fleet.scheduler.services import services
from whisper_fleet.scheduler.upkeep.acceptance import Acceptance
from whisper_fleet.scheduler.upkeep.dead_letters import DeadLetterDesk
from whisper_fleet.scheduler.upkeep.janitor import Janitor
from whisper_fleet.scheduler.upkeep.recovery import Recovery
from whisper_fleet.shared import names
from whisper_fleet.shared.connect import Outage
from whisper_fleet.shared.ledger import keys

#: A tick that Redis does not accept is not repeated: the next one does its work.
_TICKS = Outage("ticks", logging.getLogger(__name__))

# None of the ticks sends events: they run all the time, and Flower would show little else.


@app.task(name=names.DISPATCH, ignore_result=True, send_events=False)
def dispatch() -> int:
    """Hand waiting segments to GPUs; return how many."""
    with _TICKS.ignored():
        return _dispatcher().gather_and_dispatch()
    return 0


@app.task(name=names.RECOVER, ignore_result=True, send_events=False)
def recover() -> int:
    """Recover what was lost with a process or a message; return how much."""
    with _TICKS.ignored():
        if _is_first_to_recover():
            _acceptance().look(services().ledger.now())
            return _recovery().tick(services().ledger.now()) + _dead_letter_desk().tick()
    return 0


def _is_first_to_recover() -> bool:
    """Return whether no other host looked just now: the beat of every host sends this tick, and one look suffices."""
    half = int(services().settings.recovery_interval * 500)
    return bool(services().redis.set(keys.RECOVERY_LOOK, 1, nx=True, px=max(half, 1)))


@app.task(name=names.CLEAN, ignore_result=True, send_events=False)
def clean() -> None:
    """Remove what is no longer needed from Redis and the spool."""
    with _TICKS.ignored():
        _janitor().tick(services().ledger.now())


@app.task(name=names.AUTOSCALE, ignore_result=True, send_events=False)
def autoscale() -> int:
    """Resize the pools of this host's GPUs; return the number of GPUs."""
    with _TICKS.ignored():
        decisions = _autoscaler().tick(services().ledger.now())
        _note_speeds()
        if any(decision.outcome == "resized" for decision in decisions):
            services().wake_dispatcher()
        return len(decisions)
    return 0


def _note_speeds() -> None:
    settings = services().settings
    own = [gpu for gpu in services().fleet.all() if gpu.host == settings.host]
    note_speeds(services().redis, own, settings.autoscale_interval)


# One object of each per process. The dispatcher remembers how long its last pass took, the others nothing.


@lru_cache(maxsize=1)
def _dispatcher() -> Dispatcher:
    return make_dispatcher(services())


@lru_cache(maxsize=1)
def _recovery() -> Recovery:
    return Recovery(services())


@lru_cache(maxsize=1)
def _acceptance() -> Acceptance:
    return Acceptance(services().redis)


@lru_cache(maxsize=1)
def _dead_letter_desk() -> DeadLetterDesk:
    return DeadLetterDesk(services())


@lru_cache(maxsize=1)
def _janitor() -> Janitor:
    return Janitor(services())


@lru_cache(maxsize=1)
def _autoscaler() -> Autoscaler:
    fleet = services()
    return Autoscaler(fleet.app, fleet.redis, fleet.settings)
