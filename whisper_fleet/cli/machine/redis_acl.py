"""`redis-acl`: the users of a fleet for Redis, each with the rights that it needs and no others."""

from __future__ import annotations

import secrets

import click

from whisper_fleet.deploy.redis.users import USERS


@click.command("redis-acl")
@click.option("--database", default=0, show_default=True, help="Number of the database in WHISPER_FLEET_REDIS_URL.")
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="NAME",
    help="A queue of another service, in which its callbacks, chains and chords continue. May be repeated.",
)
def redis_acl(database: int, queues: tuple[str, ...]) -> None:
    """Print an ACL file for Redis with the users fleet, client, chords and metrics; their new passwords go to stderr.

    Redis reads the file with `aclfile users.acl` in redis.conf. The default user is not in it: disable it, or keep it
    for the administrator.
    """
    for user in USERS:
        password = secrets.token_urlsafe(24)
        click.echo(user.line(password, database, queues))
        click.echo(f"{user.name:8} {password}   {user.purpose}", err=True)
