"""Where to cut a long recording. A new cutter is one module, and one line in CUTTERS.

A fleet chooses its cutter by WHISPER_FLEET_CUTTER. An installed package can bring one, too: an entry point of the
group `whisper_fleet.cutters`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from whisper_fleet.scheduler.intake.cutters.pause import longest_pause
from whisper_fleet.scheduler.intake.cutters.voice import longest_without_voice
from whisper_fleet.shared.errors import BadSetting
from whisper_fleet.shared.plugins import extensions
from whisper_fleet.shared.settings import Settings

#: Takes the samples between which a cut may be, int16 at 16 kHz, and returns the index of the sample to cut at.
Cutter = Callable[[NDArray[np.int16]], int]

CUTTERS: dict[str, Cutter] = {"pause": longest_pause, "voice": longest_without_voice}

_GROUP = "whisper_fleet.cutters"


def cutter_of(settings: Settings, name: str | None = None) -> Cutter:
    """Return the cutter of this name, or else that of the settings; raises BadSetting if there is none of the name."""
    name = name or settings.cutter
    known: dict[str, Cutter] = {**extensions(_GROUP), **CUTTERS}
    if name not in known:
        raise BadSetting(name="WHISPER_FLEET_CUTTER", reason=f"{name!r} is none of {', '.join(known)}")
    return known[name]
