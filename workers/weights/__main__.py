"""`python -m whisper_fleet.workers.weights NAME`: makes sure that the model directory holds the checkpoint."""

from __future__ import annotations

import sys

from whisper_fleet.shared.errors import FleetError
from whisper_fleet.shared.settings import load_settings
from whisper_fleet.workers.weights.bring import bring


def main() -> int:
    try:
        bring(sys.argv[1], load_settings().models)
    except FleetError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


sys.exit(main())
