"""Has a model's weights brought by the worker side, which may use torch; at once if they are there."""

from __future__ import annotations

import os
import subprocess
import sys

from whisper_fleet.shared.errors import FleetError, SetupError
from whisper_fleet.shared.models import checkpoint_path, resolve
from whisper_fleet.shared.settings import Settings


def bring_weights(model: str, settings: Settings) -> None:
    """Makes sure of the checkpoint and tells on the terminal what it fetches; SetupError if it cannot."""
    path = checkpoint_path(model, settings.models).absolute()
    try:
        resolve(str(path), path.parent)
    except FleetError:
        environment = {**os.environ, "WHISPER_FLEET_MODEL_DIR": str(settings.models.absolute())}
        command = [sys.executable, "-m", "whisper_fleet.workers.weights", model]
        if subprocess.run(command, env=environment, check=False).returncode != 0:
            raise SetupError(what=f"the model {model}", fix="see above") from None
