"""Decides how many feeders a node has. Pure."""

from __future__ import annotations

import math

#: Slots per feeder. With 64 threads, a Python process reaches the speed of four with 16; with 256, it loses half.
SLOTS_PER_FEEDER = 64
#: Cores per feeder, at least: a feeder computes spectrograms on several at once.
CORES_PER_FEEDER = 4
#: A node with fewer slots transcribes by itself.
FEWEST_SLOTS = 32


def feeders_for(slots: int, cores: int) -> int:
    """Return the feeders of a node with this many slots on a host with this many cores; 0: it transcribes itself."""
    if slots < FEWEST_SLOTS:
        return 0
    return min(math.ceil(slots / SLOTS_PER_FEEDER), cores // CORES_PER_FEEDER)
