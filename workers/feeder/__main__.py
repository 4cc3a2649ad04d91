"""Run a feeder: `python -m whisper_fleet.workers.feeder --socket PATH --engine PATH`. It ends with its node."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

import torch

from whisper_fleet.shared.display.json_log import log_to_stderr
from whisper_fleet.shared.display.log_records import configure_log_records
from whisper_fleet.shared.errors import FleetError
from whisper_fleet.shared.settings import Settings, load_settings
from whisper_fleet.shared.settings.reload import reload_settings
from whisper_fleet.workers.feeder.messages import RELOAD
from whisper_fleet.workers.feeder.server import FeederServer
from whisper_fleet.workers.whisper import spectrogram

_log = logging.getLogger(__name__)


def main() -> None:
    """Serve segments until the node closes the standard input."""
    parser = argparse.ArgumentParser(prog="python -m whisper_fleet.workers.feeder", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="where the node connects")
    parser.add_argument("--engine", type=Path, required=True, help="the engine's socket")
    parser.add_argument("--cores", type=int, required=True, help="on which spectrograms are computed at once")
    arguments = parser.parse_args()
    settings = load_settings()
    configure_log_records()
    log_to_stderr(settings, settings.log_level, "%(asctime)s %(levelname)s %(message)s")
    torch.set_num_threads(1)  # one per slot for spectrograms; the other cores are the engine's
    spectrogram.limit_cores(arguments.cores)
    FeederServer(settings, arguments.socket, arguments.engine).start()
    for line in sys.stdin.buffer:  # until the node closes it
        if line == RELOAD:
            _reload(settings)
    os._exit(0)  # the threads of segments must not hold the process; the node has ended their attempts


def _reload(settings: Settings) -> None:
    try:
        reload_settings(settings)
    except FleetError as error:  # the file has changed again since the node read it
        _log.error("the settings stay as they are: %s", error)
    logging.getLogger().setLevel(settings.log_level)


if __name__ == "__main__":
    main()
