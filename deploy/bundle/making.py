"""Makes a bundle on a machine with network. Called by `whisper-fleet bundle make`; needs a checkout, pip and its index.

It knows nothing of a fleet. Wheels come from pip with the pinned versions; weights are those of the model directory.
A failure of pip is a BundleError with pip's message, and leaves no half-written bundle.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from whisper_fleet.deploy.bundle import install
from whisper_fleet.deploy.bundle.install import MANIFEST, SHARE, WEIGHTS, WHEELS, BundleError, platform_of_this_python

#: Folders of the checkout that an operator copies from, besides Python's own.
_SHARED = ("deploy/systemd", "deploy/monitoring", "deploy/docker", "deploy/kubernetes")
_NOT_SOURCE = (".*", "var", "build", "*.egg-info", "__pycache__", "tests", "docs", "benchmarks")


def make(
    out: Path, *, source: Path, extras: Sequence[str], weights: Sequence[Path], settings_example: str
) -> dict[str, object]:
    """Write a bundle to `out` and return its manifest; raises BundleError."""
    if not (source / "constraints.txt").is_file() or not (source / "pyproject.toml").is_file():
        raise BundleError(f"{source} is not a checkout of Whisper Fleet: run the command in one, or name it.")
    with tempfile.TemporaryDirectory() as name:
        wheels = Path(name) / WHEELS
        version = _collect_wheels(source, extras, wheels)
        files: dict[str, Path | bytes] = {f"{WHEELS}/{file.name}": file for file in sorted(wheels.iterdir())}
        files |= {f"{WEIGHTS}/{file.name}": file for file in weights}
        files |= dict(_shared_files(source))
        files |= {f"{SHARE}/config.toml": settings_example.encode(), "install.py": Path(str(install.__file__))}
        manifest: dict[str, object] = {
            "version": version,
            "extras": list(extras),
            "models": [file.stem for file in weights],
            **platform_of_this_python(),
            "files": {name: _described(content) for name, content in files.items()},
        }
        _write(out, manifest, files)
    return manifest


def _collect_wheels(source: Path, extras: Sequence[str], wheels: Path) -> str:
    """Have pip fetch or build the package and all that it needs; return the package's version."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "source"
        shutil.copytree(source, tree, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_SOURCE))
        requirement = f"{tree}[{','.join(extras)}]" if extras else str(tree)
        options = ["--wheel-dir", str(wheels), "--constraint", str(source / "constraints.txt")]
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", *options]
        done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BundleError(f"pip could not collect the wheels: {done.stderr.strip()}")
    (own,) = wheels.glob("whisper_fleet-*.whl")
    return own.name.split("-")[1]


def _shared_files(source: Path) -> Iterator[tuple[str, Path]]:
    for folder in _SHARED:
        for file in sorted((source / folder).rglob("*")):
            if file.is_file() and file.suffix not in (".py", ".pyc"):
                yield f"{SHARE}/{file.relative_to(source).as_posix()}", file


def _described(content: Path | bytes) -> dict[str, object]:
    if isinstance(content, bytes):
        return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    with content.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": content.stat().st_size}


def _write(out: Path, manifest: Mapping[str, object], files: Mapping[str, Path | bytes]) -> None:
    """Write the archive beside its place, and move it there when it is complete. Wheels and weights do not shrink."""
    partial = out.with_name(f".{out.name}.partial")
    try:
        with tarfile.open(partial, "w") as archive:
            _add(archive, MANIFEST, json.dumps(manifest, indent=1).encode())
            for name, content in files.items():
                _add(archive, name, content)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def _add(archive: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    info = tarfile.TarInfo(name)
    if isinstance(content, bytes):
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        return
    info.size = content.stat().st_size
    with content.open("rb") as file:
        archive.addfile(info, file)
