"""`dead-letters`: the messages that were set aside, because Celery could not read them or they killed their readers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime

import click

from whisper_fleet.cli.connection import connect_redis
from whisper_fleet.shared.broker.dead_letters import DeadLetter, DeadLetters
from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.units import readable_bytes


@click.command("dead-letters")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known about each message as JSON.")
@click.option("--delete", "numbers", type=int, multiple=True, metavar="NUMBER", help="Delete this message.")
@click.option("--all", "delete_all", is_flag=True, help="Delete every message that is listed.")
def dead_letters(as_json: bool, numbers: tuple[int, ...], delete_all: bool) -> None:
    """List the messages that were set aside because they could not be read, or delete them."""
    if as_json and (numbers or delete_all):
        raise click.UsageError("--json lists the messages: give --delete or --all without it")
    with connect_redis(local_settings()) as redis:
        letters = DeadLetters(redis)
        if not (numbers or delete_all):
            _list(letters.all(), as_json)
            return
        wanted = [letter.number for letter in letters.all()] if delete_all else list(numbers)
        missing = [number for number in wanted if not letters.delete(number)]
    click.echo(f"deleted {len(wanted) - len(missing)}")
    if missing and not delete_all:
        sys.exit(f"no dead letter {', '.join(map(str, missing))}")


def _list(letters: Sequence[DeadLetter], as_json: bool) -> None:
    if as_json:
        known = [letter.model_dump() | {"task_id": letter.task_id} for letter in letters]
        click.echo(json.dumps(known, indent=2))  # as ASCII: no character of a message reaches the terminal as it is
        return
    for letter in letters:
        click.echo(_line(letter))
    if not letters:
        click.echo("no dead letters")


def _line(letter: DeadLetter) -> str:
    moment = datetime.fromtimestamp(letter.at).astimezone().isoformat(sep=" ", timespec="seconds")
    job = f", job {letter.task_id}" if letter.task_id else ""
    what = f"{letter.queue}: {letter.reason} ({readable_bytes(letter.size)}{job})"
    return printable(f"{letter.number}  {moment}  {what}")
