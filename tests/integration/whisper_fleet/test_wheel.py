"""The package that users install: built from its source distribution, and used from a folder of its own."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import missing

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[3]
NOT_SOURCE = (".git", ".venv", "var", "build", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")
PACKAGE_DATA = {".lua", ".cu", ".cuh", ".wav", ".tsv", ".html", ".css", ".js", ".svg"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made of the source distribution with the setuptools that is installed."""
    if find_spec("setuptools") is None:
        missing("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(REPOSITORY, source, symlinks=True, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    _run("-c", f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})", cwd=source)
    (sdist,) = folder.glob("*.tar.gz")
    pip = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    _run(*pip, "--wheel-dir", str(folder), str(sdist), cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder with nothing but the installed package."""
    site = wheel.parent / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def python_with(site: Path, *arguments: str) -> str:
    """Run Python in an empty folder with the package installed there, and return what it prints."""
    folder = site.parent / "empty"
    folder.mkdir(exist_ok=True)
    return _run(*arguments, cwd=folder, PYTHONPATH=str(site))


def _run(*arguments: str, cwd: Path, **environment: str) -> str:
    env = {**os.environ, "PYTHONPATH": "", **environment}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def source_files() -> Iterator[str]:
    """The files that belong into the package, by their names in it."""
    for folder in (
        "whisper_fleet/cli",
        "whisper_fleet/http",
        "whisper_fleet/samples",
        "shared",
        "scheduler",
        "workers",
        "deploy/processes",
    ):
        for file in (REPOSITORY / folder).rglob("*"):
            if file.suffix == ".py" or file.suffix in PACKAGE_DATA:
                name = file.relative_to(REPOSITORY).as_posix()
                yield name if name.startswith("whisper_fleet/") else f"whisper_fleet/{name}"


def test_the_wheel_holds_one_package_with_all_its_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert not any(info.external_attr >> 16 & 0o170000 == 0o120000 for info in archive.infolist())  # no links
    assert {re.sub(r"-.*", "", name.split("/")[0]) for name in names} == {"whisper_fleet"}
    expected = set(source_files())
    assert {Path(name).suffix for name in expected} == {".py", *PACKAGE_DATA}
    assert expected <= names
    assert {"whisper_fleet/py.typed", "whisper_fleet/celeryconfig.py", "whisper_fleet/__init__.py"} <= names


def test_the_client_alone_requires_little(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    always = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {re.split(r"[\[<>=!~; ]", line)[0] for line in always}
    assert names == {"celery", "click", "pydantic", "pydantic-settings", "redis", "rich"}
    assert {"server", "gpu", "embedded", "dev"} <= set(metadata.get_all("Provides-Extra", []))


def test_celery_of_another_program_does_not_pick_up_the_fleets_configuration(installed: Path) -> None:
    code = (
        "import celery, whisper_fleet; from importlib.util import find_spec;"
        "print(whisper_fleet.__file__, celery.current_app.conf.beat_schedule, find_spec('celeryconfig'))"
    )
    assert python_with(installed, "-c", code).split() == [str(installed / "whisper_fleet/__init__.py"), "{}", "None"]


def test_the_apps_and_the_command_start_from_any_folder(installed: Path) -> None:
    for app in ("whisper_fleet.workers.app", "whisper_fleet.scheduler.app"):
        assert "'autoscale'" in python_with(installed, "-m", "celery", "-A", app, "report")
    code = "from whisper_fleet.cli.main import main; import sys; sys.argv = ['whisper-fleet', '--help']; main()"
    assert "submit" in python_with(installed, "-c", code)
    code = "from whisper_fleet.shared.ledger.scripts import script; print(len(script('show')[0]) > 100)"
    assert python_with(installed, "-c", code).strip() == "True"
