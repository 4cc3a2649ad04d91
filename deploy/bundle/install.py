"""Install Whisper Fleet from a bundle, without network. Needs nothing but Python's standard library.

    tar -xf BUNDLE install.py
    python3 install.py BUNDLE --into /opt/whisper-fleet --model-dir /var/lib/whisper-fleet/models

Every file is checked against the manifest before anything is installed. It fails with a BundleError that says what is
wrong, and leaves an existing environment alone until all files are checked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
WHEELS, WEIGHTS, SHARE = "wheels", "weights", "share"
_CHUNK = 2**20


class BundleError(Exception):
    """A bundle cannot be made or installed; the message says why and what to do."""


def platform_of_this_python() -> dict[str, str]:
    """Return the Python and the platform that wheels with compiled parts are made for."""
    return {"python": f"{sys.version_info[0]}.{sys.version_info[1]}", "platform": sysconfig.get_platform()}


def install(bundle: Path, into: Path, model_dir: Path | None) -> dict[str, Any]:
    """Verify a bundle, create a virtual environment in `into`, and put weights into `model_dir`; return the manifest.

    The example of the settings, the units and the dashboards go to `share/whisper-fleet` in the environment.
    """
    with tempfile.TemporaryDirectory(dir=_place_for(into)) as name:
        folder = Path(name)
        manifest = unpack(bundle, folder)
        _check_platform(manifest)
        _make_environment(folder / WHEELS, into, manifest)
        if model_dir is not None and (folder / WEIGHTS).is_dir():
            _move_weights(folder / WEIGHTS, model_dir)
        if (folder / SHARE).is_dir():
            shutil.copytree(folder / SHARE, into / "share" / "whisper-fleet", dirs_exist_ok=True)
    return manifest


def unpack(bundle: Path, folder: Path) -> dict[str, Any]:
    """Extract a bundle into a folder, check the size and the checksum of each file, and return the manifest."""
    try:
        with tarfile.open(bundle) as archive:
            manifest = _read_manifest(archive, bundle)
            files: dict[str, Any] = manifest["files"]
            members = {member.name: member for member in archive.getmembers() if member.name != MANIFEST}
            if wrong := sorted(members.keys() ^ files.keys()):
                raise BundleError(f"{bundle} differs from its manifest in {', '.join(wrong[:5])}: copy it again.")
            for name, member in members.items():
                _extract(archive, member, folder, str(files[name]["sha256"]), bundle)
    except (tarfile.TarError, OSError, EOFError, KeyError, ValueError) as error:
        raise BundleError(f"{bundle} cannot be read ({error}): copy it again.") from error
    return manifest


def _read_manifest(archive: tarfile.TarFile, bundle: Path) -> dict[str, Any]:
    try:
        stream = archive.extractfile(MANIFEST)
    except KeyError:
        stream = None
    if stream is None:
        raise BundleError(f"{bundle} is not a bundle of `whisper-fleet bundle make`: it has no {MANIFEST}.")
    manifest: dict[str, Any] = json.load(stream)
    return manifest


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, sha256: str, bundle: Path) -> None:
    """Write one regular file below the folder; raises BundleError if it is anything else, or damaged."""
    target = folder / member.name
    stream = archive.extractfile(member) if member.isreg() else None
    if stream is None or folder.resolve() not in target.resolve().parents:
        raise BundleError(f"{bundle} holds {member.name!r}, which is not a plain file below it: do not use it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with stream, target.open("wb") as file:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != sha256:
        raise BundleError(f"{member.name} in {bundle} is damaged (its SHA-256 differs): copy the bundle again.")


def _check_platform(manifest: dict[str, Any]) -> None:
    ours = platform_of_this_python()
    for what, value in ours.items():
        if manifest[what] != value:
            made = f"Python {manifest['python']} on {manifest['platform']}"
            raise BundleError(f"The bundle is for {made}, and this is {what} {value}: make one on a machine like this.")


def _make_environment(wheels: Path, into: Path, manifest: dict[str, Any]) -> None:
    """Create the virtual environment, and install the package into it from the wheels alone."""
    extras = ",".join(manifest["extras"])
    package = f"whisper-fleet[{extras}]" if extras else "whisper-fleet"
    _run([sys.executable, "-m", "venv", str(into)], "a virtual environment")
    # A wheel that differs may have the version of the one that is installed.
    options = ["--no-index", "--no-cache-dir", "--disable-pip-version-check", "--force-reinstall"]
    options += ["--find-links", str(wheels)]
    requirement = f"{package}=={manifest['version']}"
    _run([str(into / "bin" / "python"), "-m", "pip", "install", "--quiet", *options, requirement], "the package")


def _run(command: list[str], what: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BundleError(f"{what} could not be installed: {(done.stderr or done.stdout).strip()}")


def _move_weights(weights: Path, model_dir: Path) -> None:
    """Move each checkpoint into place in one step, so that a node never reads half of one."""
    model_dir.mkdir(parents=True, exist_ok=True)
    for file in sorted(weights.iterdir()):
        partial = model_dir / f".{file.name}.partial"
        shutil.copyfile(file, partial)
        partial.replace(model_dir / file.name)


def _place_for(into: Path) -> Path:
    """Return an existing folder on the disk of the environment, which has to have the room anyway."""
    place = into.absolute()
    while not place.is_dir():
        place = place.parent
    return place


def main() -> None:
    """Install from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--into", type=Path, required=True, help="directory of the virtual environment")
    parser.add_argument("--model-dir", type=Path, help="directory for the weights; left out, they are not installed")
    options = parser.parse_args()
    try:
        manifest = install(options.bundle, options.into, options.model_dir)
    except BundleError as error:
        sys.exit(str(error))
    sys.stdout.write(f"whisper-fleet {manifest['version']} is in {options.into}\n")


if __name__ == "__main__":
    main()
