"""`keys` and `usage`: the API keys of the HTTP server, and what they used."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime

import click

from whisper_fleet.cli.connection import connect_redis
from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.http.api_keys import ApiKey, KeyLimits, KeyStore, Scope, new_key
from whisper_fleet.shared.http.usage import read_usage
from whisper_fleet.shared.request.values import LONGEST_TENANT


class _Scopes(click.ParamType[tuple[Scope, ...]]):
    """A list of scopes, separated by commas."""

    name = "scopes"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Scope, ...]:
        try:
            return tuple(dict.fromkeys(Scope(name.strip()) for name in value.split(",")))
        except ValueError:
            self.fail(f"{value!r} is not a list of {', '.join(Scope)}", param, ctx)


@click.group()
def keys() -> None:
    """Create, list and revoke API keys of the HTTP server."""


@keys.command()
@click.option("--tenant", required=True, help="Tenant of every job that is submitted with the key.")
@click.option("--scope", "scopes", type=_Scopes(), default="submit,read", show_default=True, help="What it allows.")
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="Most requests per minute.")
@click.option("--concurrent-jobs", type=click.IntRange(min=1), help="Most jobs at once.")
@click.option("--audio-hours-per-day", type=click.FloatRange(min=0, min_open=True), help="Most audio per day, by UTC.")
def create(
    tenant: str,
    scopes: tuple[Scope, ...],
    requests_per_minute: int | None,
    concurrent_jobs: int | None,
    audio_hours_per_day: float | None,
) -> None:
    """Create a key and print it: it is shown this once, because only its hash is kept."""
    if not tenant or len(tenant) > LONGEST_TENANT:
        raise click.UsageError(f"a tenant has 1 to {LONGEST_TENANT} characters")
    limits = KeyLimits(
        requests_per_minute=requests_per_minute,
        concurrent_jobs=concurrent_jobs,
        audio_hours_per_day=audio_hours_per_day,
    )
    key, token = new_key(tenant, scopes, limits, time.time())
    with connect_redis(local_settings()) as redis:
        KeyStore(redis).add(key)
    click.echo(token)
    click.echo(f"id {key.id}; from now on the HTTP server serves nobody without a key", err=True)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known about each key as JSON.")
def list_keys(as_json: bool) -> None:
    """List the keys, the oldest first."""
    with connect_redis(local_settings()) as redis:
        known = KeyStore(redis).all()
    if as_json:
        click.echo(json.dumps([key.model_dump(mode="json", exclude={"digest"}) for key in known], indent=2))
        return
    for key in known:
        click.echo(_line(key))
    if not known:
        click.echo("no API keys: the HTTP server serves its own machine only")


@keys.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """Revoke the key of this ID; its next request is refused."""
    with connect_redis(local_settings()) as redis:
        store = KeyStore(redis)
        key = store.find(key_id)
        if key is None:
            sys.exit(printable(f"no API key {key_id}: see `whisper-fleet keys list`"))
        if key.revoked is None:
            store.add(key.model_copy(update={"revoked": time.time()}))
    click.echo(f"revoked {key.id}")


@click.command()
@click.option("--days", type=click.IntRange(1, 366), default=7, show_default=True, help="Days to show, by UTC.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per day and key.")
def usage(days: int, as_json: bool) -> None:
    """Show what each API key used, by day."""
    with connect_redis(local_settings()) as redis:
        used = read_usage(redis, days, time.time())
        tenants = {key.id: key.tenant for key in KeyStore(redis).all()}
    for day in used:
        tenant = tenants.get(day.key, "")
        if as_json:
            click.echo(json.dumps({**day.model_dump(), "tenant": tenant}))
        else:
            hours = day.audio_seconds / 3600
            counts = f"requests: {day.requests:,}  jobs: {day.jobs:,}  audio: {hours:,.2f} h"
            click.echo(printable(f"{day.date}  {day.key:12}  {tenant:20}  {counts}"))
    if not used and not as_json:
        click.echo("nothing was used")


def _line(key: ApiKey) -> str:
    created = datetime.fromtimestamp(key.created).astimezone().isoformat(sep=" ", timespec="seconds")
    limits = ", ".join(f"{name}={value:g}" for name, value in key.limits.model_dump(exclude_none=True).items())
    state = "revoked" if key.revoked is not None else ",".join(key.scopes)
    return printable(f"{key.id}  {created}  {key.tenant:20}  {state:12}  {limits}".rstrip())
