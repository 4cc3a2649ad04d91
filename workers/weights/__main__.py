"""`python -m whisper_fleet.workers.weights MODEL` fetches a checkpoint into the model directory if it is missing."""

from __future__ import annotations

import sys

from whisper_fleet.shared.errors import FleetError
from whisper_fleet.shared.settings import load_settings
from whisper_fleet.workers.weights.fetch import fetch


def main() -> int:
    """Fetch the model that the command line names, and return the exit status."""
    try:
        fetch(sys.argv[1], load_settings().models)
    except FleetError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


sys.exit(main())
