"""`webhooks`: what is still to be delivered, what could not be, and the secrets that sign it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime

import click

from whisper_fleet.cli.connection import connect_redis
from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.webhooks.deliveries import Deliveries, Delivery
from whisper_fleet.shared.webhooks.secrets import SecretStore, new_secret


@click.group()
def webhooks() -> None:
    """List webhooks that are not delivered, send them again, and show or rotate the signing secrets."""


@webhooks.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known about each delivery as JSON.")
def list_(as_json: bool) -> None:
    """List the undeliverable webhooks, and those that wait for their next attempt."""
    with connect_redis(local_settings()) as redis:
        deliveries = Deliveries(redis)
        known = {"undeliverable": deliveries.undeliverable(), "waiting": deliveries.waiting()}
    if as_json:
        click.echo(json.dumps([_as_json(state, one) for state, found in known.items() for one in found], indent=2))
        return
    for state, found in known.items():
        for delivery in found:
            click.echo(_line(state, delivery))
    if not any(known.values()):
        click.echo("no webhooks")


@webhooks.command()
@click.argument("events", nargs=-1)
@click.option("--all", "retry_all", is_flag=True, help="Send every undeliverable webhook again.")
def retry(events: Sequence[str], retry_all: bool) -> None:
    """Send the webhooks with these ids again now, and try for another day."""
    if retry_all == bool(events):
        raise click.UsageError("name the events, or give --all")
    with connect_redis(local_settings()) as redis:
        deliveries = Deliveries(redis)
        wanted = [delivery.event.id for delivery in deliveries.undeliverable()] if retry_all else list(events)
        missing = [event for event in wanted if not deliveries.retry(event, time.time())]
    click.echo(f"due again: {len(wanted) - len(missing)}")
    if missing:
        sys.exit(f"no webhook {', '.join(map(printable, missing))}: it is delivered, or not known")


@webhooks.command()
@click.option("--tenant", default="", help="The secret of this tenant alone; left out, that of the fleet.")
@click.option("--rotate", is_flag=True, help="Make a new secret.")
@click.option("--set", "given", help="Use this secret (whsec_...) instead of a random one.")
@click.option(
    "--keep",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="For how long the old secret signs as well.",
)
def secret(tenant: str, rotate: bool, given: str | None, keep: float) -> None:
    """Print the secret that webhooks are signed with; --rotate or --set replaces it."""
    with connect_redis(local_settings()) as redis:
        store = SecretStore(redis)
        if rotate or given is not None:
            found = store.replace(tenant, given or new_secret(), time.time(), keep * 3600)
        else:
            found = store.of(tenant)
    click.echo(found.current)


def _as_json(state: str, delivery: Delivery) -> dict[str, object]:
    return {
        "id": delivery.event.id,
        "state": state,
        "type": delivery.event.type,
        "data": delivery.event.data,
        "created": delivery.event.created,
        "url": delivery.url,
        "tenant": delivery.owner,
        "attempts": delivery.attempts,
        "error": delivery.error,
        "give_up": delivery.give_up,
    }


def _line(state: str, delivery: Delivery) -> str:
    moment = datetime.fromtimestamp(delivery.event.created).astimezone().isoformat(sep=" ", timespec="seconds")
    what = f"{delivery.event.type} {delivery.event.data['id']} to {delivery.url}"
    error = f": {delivery.error}" if delivery.error else ""
    return printable(f"{delivery.event.id}  {moment}  {state}  {what}, attempts: {delivery.attempts}{error}")
