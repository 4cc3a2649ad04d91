"""`bundle`: one file that installs a fleet on a site without network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from whisper_fleet.cli.machine.config import default_settings_file
from whisper_fleet.deploy.bundle import making
from whisper_fleet.deploy.bundle.install import BundleError
from whisper_fleet.deploy.bundle.install import install as install_bundle
from whisper_fleet.deploy.processes.weights import bring_weights
from whisper_fleet.shared.settings import load_settings
from whisper_fleet.shared.units import readable_bytes

_FILE = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.group()
def bundle() -> None:
    """Make or install one file with wheels, weights, settings, units and dashboards."""


@bundle.command()
@click.option("--out", type=_FILE, required=True, help="File to write.")
@click.option("--models", default="", help="Models whose weights go with it: base,turbo.")
@click.option("--extras", default="server,http,gpu", show_default=True, help="Parts of the package.")
@click.option("--source", type=_DIRECTORY, default=Path(), help="Checkout; left out, the current directory.")
def make(out: Path, models: str, extras: str, source: Path) -> None:
    """Make a bundle for machines with this machine's platform and Python.

    Wheels have the versions in constraints.txt, from pip's index. Missing weights are downloaded.
    """
    settings = load_settings()
    weights = [bring_weights(model, settings) for model in _names(models)]
    try:
        manifest: dict[str, Any] = making.make(
            out,
            source=source.absolute(),
            extras=_names(extras),
            weights=weights,
            settings_example=default_settings_file(),
        )
    except BundleError as error:
        raise click.ClickException(str(error)) from error
    size = readable_bytes(out.stat().st_size)
    click.echo(f"{out}: {size}, {len(manifest['files'])} files, Python {manifest['python']}, {manifest['platform']}")


@bundle.command("install")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--into", type=_DIRECTORY, required=True, help="Directory of the virtual environment.")
@click.option("--model-dir", type=_DIRECTORY, help="For the weights; left out, WHISPER_FLEET_MODEL_DIR.")
def install_command(file: Path, into: Path, model_dir: Path | None) -> None:
    """Check FILE, and install it without network.

    A machine without whisper-fleet runs the same with plain Python: `tar -xf FILE install.py`, `python3 install.py`.
    """
    try:
        manifest = install_bundle(file, into, model_dir or load_settings().models)
    except BundleError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"whisper-fleet {manifest['version']} is in {into}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
