"""Have a model's weights downloaded by a process of the worker side, which may import torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from whisper_fleet.shared.errors import FleetError, SetupError
from whisper_fleet.shared.files.checkpoints import dims_in
from whisper_fleet.shared.models import checkpoint_path
from whisper_fleet.shared.settings import Settings


def bring_weights(model: str, settings: Settings) -> Path:
    """Return the path of a model's checkpoint, downloading it if it is missing or incomplete.

    Progress goes to the terminal. SetupError when there is no way to get it.
    """
    path = checkpoint_path(model, settings.models).absolute()
    try:
        dims_in(path)
    except FleetError:
        environment = {**os.environ, "WHISPER_FLEET_MODEL_DIR": str(settings.models.absolute())}
        command = [sys.executable, "-m", "whisper_fleet.workers.weights", model]
        if subprocess.run(command, env=environment, check=False).returncode != 0:
            raise SetupError(what=f"the model {model}", fix="see above") from None
    return path
