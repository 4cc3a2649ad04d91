"""The options of `submit`: one per field of a request, with the field's own limits and description."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from whisper_fleet.shared.fields import FieldDoc
from whisper_fleet.shared.files.buckets import is_bucket
from whisper_fleet.shared.request.parsing import describe_options, is_whisper_option

F = TypeVar("F", bound=Callable[..., Any])

#: Options that are not spelled like their field.
_SPELLINGS = {"model_name": "--model", "output_path": "--output-dir", "formats": "--format"}

#: Defaults that help does not mention: nothing, or visible from the option's spelling.
_OBVIOUS = ("", "null", "false", "true", "[]", '""')


def request_options(command: F) -> F:
    """Add an option for every field of a request but the file; one that is not given is None, or empty if a list."""
    help_of_rest = "An argument of whisper.transcribe()."
    command = click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help=help_of_rest)(command)
    for field in reversed(describe_options()):
        if field.name != "file_path" and not field.is_whispers:
            command = _option(field)(command)
    return command


def keywords(given: dict[str, Any], options: tuple[str, ...]) -> dict[str, Any]:
    """Return the keyword arguments of a job, from the options as click parsed them."""
    request = dict(given)
    output = request["output_path"]
    request["output_path"] = _absolute(output) if output else None
    request["formats"] = list(request["formats"]) or None
    request |= dict(map(_name_and_value, options))
    if taken := request.keys() & {"file_path", "job"}:
        raise click.BadParameter(f"{min(taken)} is not an option: name the files as FILES")
    return request


def _absolute(place: str) -> str:
    return place if is_bucket(place) else str(Path(place).absolute())


def _option(field: FieldDoc) -> Callable[[F], F]:
    spelling = _SPELLINGS.get(field.name, "--" + field.name.replace("_", "-"))
    is_worth_showing = field.default not in _OBVIOUS and not field.type.startswith("list")
    default = " Default: " + field.default.strip('"') + "." if is_worth_showing else ""
    unit = f" Unit: {field.unit}." if field.unit else ""
    shape: dict[str, Any] = {"help": field.description + unit + default}
    if field.type == "true or false":
        shape |= {"is_flag": True, "default": None}
        spelling += f"/--no-{spelling[2:]}" if field.default == "true" else ""
    else:
        shape |= {"type": _type(field), "multiple": field.type.startswith("list of ") and bool(field.choices)}
    return click.option(spelling, field.name, **shape)


def _type(field: FieldDoc) -> click.ParamType[Any] | None:
    """Return click's type of one value; None is text."""
    if field.choices:
        return click.Choice(field.choices)
    if field.name == "output_path":
        return click.Path(path_type=str)
    match field.type.removesuffix(" or none"):
        case "whole number":
            return click.IntRange(int(field.minimum or 0), None if field.maximum is None else int(field.maximum))
        case "number":
            return click.FloatRange(field.minimum, field.maximum)
    return None


def _name_and_value(text: str) -> tuple[str, Any]:
    """Return the name and value of `beam_size=5`: the value as JSON if the option accepts that, else as text."""
    name, separator, value = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE")
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        return name, value
    # Text may look like a number: the prompt 1984, or -1 for suppress_tokens.
    return name, value if is_whisper_option(name, value) and not is_whisper_option(name, parsed) else parsed
