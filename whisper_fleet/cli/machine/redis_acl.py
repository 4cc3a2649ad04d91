"""`redis-acl`: the users of a fleet for Redis, each with the rights that it needs and no others."""

from __future__ import annotations

import secrets

import click

from whisper_fleet.deploy.redis.users import USERS


def has_rights_to_read(redis_version: str) -> bool:
    """Return whether this version of Redis knows rights that only allow to read a key."""
    major = redis_version.partition(".")[0]
    if not major.isdigit():
        raise click.BadParameter(f"{redis_version!r} is no version such as 7.0", param_hint="--redis-version")
    return int(major) >= 7


@click.command("redis-acl")
@click.option("--database", default=0, show_default=True, help="Number of the database in WHISPER_FLEET_REDIS_URL.")
@click.option("--redis-version", default="7.0", show_default=True, help="Version of Redis that reads the file.")
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="NAME",
    help="A queue of another service, in which its callbacks, chains and chords continue. May be repeated.",
)
def redis_acl(database: int, redis_version: str, queues: tuple[str, ...]) -> None:
    """Print an ACL file for Redis with the users of a fleet, and their new passwords on standard error.

    They are fleet, client, chords, metrics and http.

    Redis reads the file with `aclfile users.acl` in redis.conf. The default user is not in it: disable it, or keep it
    for the administrator.
    """
    has_read_rights = has_rights_to_read(redis_version)
    if not has_read_rights:
        text = "Redis before 7.0 has no right only to read a key: the user metrics can write the fleet's keys, too"
        click.echo(text, err=True)
    for user in USERS:
        password = secrets.token_urlsafe(24)
        click.echo(user.line(password, database, queues, has_read_rights=has_read_rights))
        click.echo(f"{user.name:8} {password}   {user.purpose}", err=True)
