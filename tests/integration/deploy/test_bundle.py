"""A bundle is made from the checkout, and installed by plain Python where there is no network."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.conftest import missing
from whisper_fleet.cli.machine.bundle import bundle
from whisper_fleet.deploy.bundle import install
from whisper_fleet.deploy.bundle.install import BundleError, platform_of_this_python, unpack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the client alone, with a checkpoint that stands for a model."""
    folder = tmp_path_factory.mktemp("bundle")
    probe = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder / "probe"), "click"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        missing("pip's index")
    out = folder / "fleet.tar"
    arguments = ["make", "--out", str(out), "--extras", "", "--source", str(REPOSITORY)]
    result = CliRunner().invoke(bundle, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return with_weights(out)


def with_weights(out: Path) -> Path:
    """Return the bundle with a file of weights, without the download of a real model."""
    content = b"weights"
    with tarfile.open(out) as archive:
        members = {one.name: archive.extractfile(one).read() for one in archive.getmembers()}  # type: ignore[union-attr]
    manifest = json.loads(members.pop("manifest.json"))
    members["weights/tiny.pt"] = content
    manifest["files"]["weights/tiny.pt"] = described(content)
    return write(out.with_name("with-weights.tar"), manifest, members)


def described(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def write(out: Path, manifest: dict[str, Any], members: dict[str, bytes], link: str | None = None) -> Path:
    with tarfile.open(out, "w") as archive:
        for name, content in {"manifest.json": json.dumps(manifest).encode(), **members}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if name == link:
                info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0
            archive.addfile(info, io.BytesIO(content))
    return out


def without_network() -> list[str]:
    """Return what runs a command in a network namespace of its own, or nothing where that is not allowed."""
    prefix = ["unshare", "--user", "--map-root-user", "--net"]
    allowed = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    return prefix if allowed else []


def test_a_machine_without_network_and_package_installs_and_runs_it(made: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xf", str(made), "install.py"], cwd=tmp_path, check=True)
    into, models = tmp_path / "venv", tmp_path / "models"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    command = [sys.executable, "-I", "install.py", str(made), "--into", str(into), "--model-dir", str(models)]
    done = subprocess.run(
        [*without_network(), *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(
        [*without_network(), str(into / "bin" / "whisper-fleet"), "--version"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "version" in shown.stdout
    assert (models / "tiny.pt").read_bytes() == b"weights"
    share = into / "share" / "whisper-fleet"
    for file in ("config.toml", "deploy/systemd/whisper-fleet.target", "deploy/monitoring/alerts.yaml"):
        assert (share / file).is_file(), file


def test_the_manifest_pins_every_wheel_to_the_constraints(made: Path) -> None:
    with tarfile.open(made) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert platform_of_this_python().items() <= manifest.items()
    pinned = dict(
        line.split(";")[0].strip().lower().replace("_", "-").split("==")
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    wheels = [name.removeprefix("wheels/") for name in manifest["files"] if name.startswith("wheels/")]
    versions = {name.split("-")[0].lower().replace("_", "-"): name.split("-")[1] for name in wheels}
    assert versions.pop("whisper-fleet") == manifest["version"]
    assert {name: pinned.get(name) for name in versions} == versions
    assert {"celery", "redis", "click", "rich"} <= versions.keys()


FILES = {"wheels/a.whl": b"a wheel"}


def manifest_of(files: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    plain = {"version": "1", "extras": [], "models": [], **platform_of_this_python()}
    return {**plain, "files": {name: described(content) for name, content in files.items()}, **changes}


@pytest.mark.parametrize(
    ("files", "link", "reason"),
    [
        ({"wheels/a.whl": b"another"}, None, "is damaged"),
        ({}, None, "differs from its manifest"),
        ({**FILES, "wheels/extra.whl": b"not listed"}, None, "differs from its manifest"),
        (FILES, "wheels/a.whl", "not a plain file"),
    ],
)
def test_a_damaged_or_changed_bundle_is_refused(
    tmp_path: Path, files: dict[str, bytes], link: str | None, reason: str
) -> None:
    changed = write(tmp_path / "b.tar", manifest_of(FILES), files, link)
    with pytest.raises(BundleError, match=reason):
        unpack(changed, tmp_path / "out")


def test_nothing_is_written_outside_the_folder(tmp_path: Path) -> None:
    files = {"../outside": b"x"}
    changed = write(tmp_path / "b.tar", manifest_of(files), files)
    (tmp_path / "out").mkdir()
    with pytest.raises(BundleError, match="not a plain file below it"):
        unpack(changed, tmp_path / "out")
    assert not (tmp_path / "outside").exists()


def test_a_file_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a tar file")
    with pytest.raises(BundleError, match="cannot be read"):
        unpack(other, tmp_path / "out")
    with pytest.raises(BundleError, match="not a bundle"):
        unpack(write_empty(tmp_path / "empty.tar"), tmp_path / "out")


def write_empty(out: Path) -> Path:
    with tarfile.open(out, "w"):
        pass
    return out


def test_another_python_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    other = write(tmp_path / "b.tar", manifest_of(FILES, python="2.7"), FILES)
    with pytest.raises(BundleError, match=r"Python 2\.7"):
        install.install(other, tmp_path / "venv", None)
    assert not (tmp_path / "venv").exists()


def test_a_folder_that_is_no_checkout_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(bundle, ["make", "--out", str(tmp_path / "x.tar"), "--source", str(tmp_path)])
    assert result.exit_code == 1
    assert "is not a checkout" in result.output
