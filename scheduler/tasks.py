"""The Celery tasks of a scheduler node: each is one tick, called by beat or by a poke."""

from __future__ import annotations

import time
from functools import lru_cache

from whisper_fleet.scheduler.app import app
from whisper_fleet.scheduler.capacity.autoscaler import Autoscaler
from whisper_fleet.scheduler.dispatch.dispatcher import Dispatcher
from whisper_fleet.scheduler.services import services
from whisper_fleet.scheduler.upkeep.janitor import Janitor
from whisper_fleet.scheduler.upkeep.recovery import Recovery
from whisper_fleet.shared import names

#: Seconds at most in which slots that get free share one look.
_LONGEST_GATHER = 0.02


@app.task(name=names.DISPATCH, ignore_result=True, send_events=False)
def dispatch() -> int:
    """Hand out what waits; without events, because it runs all the time and Flower need not see it.

    A busy fleet would look for every slot that gets free. So a look waits as long as the last one took: looking
    is at most half of what this process does, and a small fleet, whose looks are short, hardly waits.
    """
    dispatcher = _dispatcher()
    # The flag of the poke still stands: whoever gets free meanwhile is in this look.
    time.sleep(min(dispatcher.took, _LONGEST_GATHER))
    return dispatcher.dispatch()


@app.task(name=names.RECOVER, ignore_result=True)
def recover() -> int:
    return Recovery(services()).tick(time.time())


@app.task(name=names.CLEAN, ignore_result=True)
def clean() -> None:
    Janitor(services()).tick(time.time())


@app.task(name=names.AUTOSCALE, ignore_result=True)
def autoscale() -> int:
    """Resize the pools of this host's GPUs; how many were looked at."""
    fleet = services()
    decisions = _autoscaler().tick(time.time())
    if any(decision.outcome == "resized" for decision in decisions):
        fleet.poke()
    return len(decisions)


@lru_cache(maxsize=1)
def _dispatcher() -> Dispatcher:
    return Dispatcher(services())


@lru_cache(maxsize=1)
def _autoscaler() -> Autoscaler:
    fleet = services()
    return Autoscaler(fleet.app, fleet.redis, fleet.settings)
