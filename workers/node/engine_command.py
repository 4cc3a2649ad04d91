"""How a node starts its engine: device, command line, environment, socket."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Literal

from whisper_fleet.shared.names import GpuName
from whisper_fleet.shared.settings import Settings

Device = Literal["cuda", "cpu"]

#: AF_UNIX allows 107 bytes for a socket's path.
LONGEST_SOCKET_PATH = 107
#: Present where NVIDIA's driver runs, on Linux and in WSL.
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def device_of(settings: Settings) -> Device:
    """Return what the engine computes on: as the settings say, or a GPU if there is one that is not hidden."""
    if settings.device != "auto":
        return settings.device
    hidden = settings.cuda_visible_devices in ("", "-1")
    return "cuda" if not hidden and any(driver.exists() for driver in _DRIVERS) else "cpu"


def engine_command(settings: Settings, device: Device, socket: Path) -> list[str]:
    """Return the engine's command line."""
    options = {
        "--socket": socket,
        "--device": device,
        "--slots": 1,
        "--model-dir": settings.models,
        "--idle-timeout": settings.model_idle_timeout,
        "--cross-attention": settings.cross_attention,
    }
    roots = [("--model-root", root) for root in settings.model_roots]
    arguments = [str(part) for option in (*options.items(), *roots) for part in option]
    if settings.reproducible:
        arguments.append("--reproducible")
    if settings.bit_exact_encoder:
        arguments.append("--bit-exact-encoder")
    return [
        sys.executable,
        "-m",
        "whisper_fleet.workers.engine",
        "--log-level",
        settings.log_level,
        "serve",
        *arguments,
    ]


def engine_environment(settings: Settings, device: Device) -> dict[str, str]:
    """Return the variables that differ from the node's: the engine sees only its GPU, numbered in NVML's order."""
    if device == "cpu":
        # Threads that spin while they wait for each other starve as soon as another process needs a core. GNU's may
        # spin for a few microseconds, the time between two operations of a decode step.
        return {"CUDA_VISIBLE_DEVICES": "", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": settings.gpu_uuid or str(settings.gpu_index),
    }


def engine_socket(settings: Settings) -> Path:
    """Return a path below the var directory, or below the temporary directory if that is too long for a socket.

    Creates its directory. Raises PermissionError if another user owns the directory.
    """
    name = GpuName(settings.host, settings.gpu_index).engine_socket
    directory = settings.var_dir.absolute() / "run"
    if len(os.fsencode(directory / name)) > LONGEST_SOCKET_PATH:
        fleet = hashlib.sha256(os.fsencode(directory)).hexdigest()[:8]
        directory = Path(tempfile.gettempdir()) / f"whisper-fleet-{os.getuid()}-{fleet}"
        name = f"engine-{settings.gpu_index}.sock"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise PermissionError(
            f"{directory} belongs to another user: remove it, or set WHISPER_FLEET_VAR_DIR to a shorter path"
        )
    return directory / name
