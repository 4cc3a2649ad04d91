"""`fetch`: download a model's weights before a node needs them."""

from __future__ import annotations

import click

from whisper_fleet.deploy.processes.weights import bring_weights
from whisper_fleet.shared.settings import load_settings


@click.command()
@click.argument("model")
def fetch(model: str) -> None:
    """Download the weights of MODEL into WHISPER_FLEET_MODEL_DIR, unless they are there; prints their path."""
    click.echo(bring_weights(model, load_settings()))
