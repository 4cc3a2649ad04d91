"""Write docs/reference from the code: `python -m docs.generate`.

Every page comes from what the product declares: settings and request options from their pydantic fields, metrics from
their table, commands from click, errors from their classes. A test fails while a page differs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from whisper_fleet.cli.exit_codes import ExitCode
from whisper_fleet.cli.main import commands
from whisper_fleet.scheduler.monitoring.metrics import declared_metrics
from whisper_fleet.shared import errors
from whisper_fleet.shared.audio.containers import CONTAINERS
from whisper_fleet.shared.fields import FieldDoc, describe
from whisper_fleet.shared.request.options import TranscribeRequest, WhisperOptions
from whisper_fleet.shared.settings import GROUPS, Settings

FOLDER = Path(__file__).parent / "reference"
README = Path(__file__).parents[1] / "README.md"

#: What the tables of the README list: most programs and operators need no more.
_README_OPTIONS = [
    "file_path",
    "model_name",
    "precision",
    "language",
    "task",
    "output_path",
    "formats",
    "priority",
    "tenant",
    "word_timestamps",
]
_README_SETTINGS = [
    "redis_url",
    "default_model",
    "default_precision",
    "segment_duration",
    "memory_safety_margin",
    "min_concurrent_tasks",
    "max_concurrent_limit",
    "media_roots",
    "model_roots",
    "url_prefixes",
    "callback_prefixes",
]

_NOTE = "<!-- Written by `python -m docs.generate`. Change the code and run it again. -->"


def main() -> None:
    """Write every page of the reference, and the tables of the README."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
    README.write_text(with_tables(README.read_text()))


def pages() -> dict[str, str]:
    """Return the pages of the reference by file name."""
    made: dict[str, Callable[[], Iterable[str]]] = {
        "settings.md": _settings,
        "request.md": _request,
        "formats.md": _formats,
        "metrics.md": _metrics,
        "cli.md": _cli,
        "errors.md": _errors,
    }
    return {name: "\n".join([_NOTE, "", *page()]).rstrip() + "\n" for name, page in made.items()}


def with_tables(readme: str) -> str:
    """Return the README with its tables of options and settings as the code declares them."""
    tables = {
        "options": _short_table(describe(TranscribeRequest), _README_OPTIONS, str),
        "settings": _short_table(describe(Settings), _README_SETTINGS, str.upper),
    }
    for name, rows in tables.items():
        begin, end = f"<!-- {name}: written by `python -m docs.generate` -->", f"<!-- end of {name} -->"
        before, _, rest = readme.partition(begin)
        readme = "\n".join([before + begin, *rows, end + rest.partition(end)[2]])
    return readme


def _short_table(fields: Iterable[FieldDoc], names: Iterable[str], title: Callable[[str], str]) -> Iterator[str]:
    by_name = {field.name: field for field in fields}
    yield "| name | default | meaning |"
    yield "|---|---|---|"
    for name in names:
        field = by_name[name]
        yield _row(_code(title(name)), _code(field.default) if field.default else "", field.description)


def _settings() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield 'Environment variables. An empty variable has its default. A list is JSON, such as `["/data", "/media"]`.'
    yield "`whisper-fleet doctor` names variables with this prefix that are not a setting. The"
    yield "[settings file](../guide/settings.md) has the same settings without the prefix, in small letters."
    yield "`whisper-fleet reload` makes changes of that file take effect, except where a setting needs a restart."
    documented = {field.name: field for field in describe(Settings)}
    for title, group in GROUPS.items():
        yield from ("", f"## {title}", "")
        yield from _field_table([documented[name] for name in group.model_fields], _variable, _reload_mark)


def _reload_mark(field: FieldDoc) -> str:
    return "" if field.is_reloadable else " **Needs a restart.**"


def _variable(name: str) -> str:
    return "CUDA_VISIBLE_DEVICES" if name == "cuda_visible_devices" else f"WHISPER_FLEET_{name.upper()}"


def _request() -> Iterator[str]:
    yield "# Request"
    yield ""
    yield "The keyword arguments of the task `transcribe`, of `FleetClient.submit`, and, as options, of"
    yield "`whisper-fleet submit`. An unknown name or a wrong value fails the job at once and says what to do."
    yield ""
    yield "## Options of the fleet"
    yield ""
    yield "The default model, precision and segment duration are those of the fleet's [settings](settings.md)."
    yield ""
    yield from _field_table([one for one in describe(TranscribeRequest) if one.name != "options"], str)
    yield ""
    yield "## Options of whisper.transcribe()"
    yield ""
    yield "They mean what they mean to whisper, and their defaults are whisper's."
    yield ""
    yield from _field_table(describe(WhisperOptions), str)


def _field_table(
    fields: Iterable[FieldDoc], title: Callable[[str], str], mark: Callable[[FieldDoc], str] = lambda _: ""
) -> Iterator[str]:
    yield "| name | type | default | range | unit | description |"
    yield "|---|---|---|---|---|---|"
    for one in fields:
        default = _code(one.default) if one.default else ""
        yield _row(_code(title(one.name)), one.type, default, one.range, one.unit, one.description + mark(one))


def _formats() -> Iterator[str]:
    yield "# Accepted files"
    yield ""
    yield "Audio and video files of these formats, decoded by ffmpeg to the samples of `whisper.load_audio`. ffmpeg"
    yield "recognises most formats by their content, whatever the file's extension is. A format that refers to other"
    yield "files or addresses, such as a playlist, is refused."
    yield ""
    yield "| format | usual extensions | ffmpeg's demuxer |"
    yield "|---|---|---|"
    for container in CONTAINERS:
        extensions = ", ".join(map(_code, container.extensions.split()))
        yield _row(container.description, extensions, _code(container.demuxer))


def _metrics() -> Iterator[str]:
    yield "# Metrics"
    yield ""
    yield "Flower serves them at `/metrics` in Prometheus' format, next to its own."
    yield "A value that is unknown has no sample. Every Flower reports the whole fleet: scrape only one of them."
    yield ""
    yield "| name | type | labels | meaning |"
    yield "|---|---|---|---|"
    for spec in declared_metrics():
        yield _row(_code(spec.full_name), spec.type, ", ".join(map(_code, spec.labels)), spec.help)


def _cli() -> Iterator[str]:
    yield "# Command line"
    yield ""
    yield "Results go to standard output, progress and errors to standard error; neither has colours in a pipe."
    yield ""
    yield "| exit code | meaning |"
    yield "|---|---|"
    yield from (_row(str(code.value), code.meaning) for code in ExitCode)
    yield ""
    yield "Without WHISPER_FLEET_REDIS_URL, a command uses the fleet that runs in its folder, or else the one that the"
    yield "same user started last on this machine, in any folder."
    yield ""
    yield from _command(commands, "whisper-fleet", level=2)


def _command(command: click.Command, path: str, *, level: int) -> Iterator[str]:
    yield f"{'#' * level} {path}"
    yield ""
    if command.help:
        yield from inspect.cleandoc(command.help).replace("\b\n", "").splitlines()
        yield ""
    arguments = [_argument(one) for one in command.params if isinstance(one, click.Argument)]
    group = isinstance(command, click.Group)
    yield "    " + " ".join([path, "[OPTIONS]", *arguments, *(["COMMAND"] if group else [])])
    yield ""
    if options := [one for one in command.params if isinstance(one, click.Option) and not one.hidden]:
        yield "| option | value | default | meaning |"
        yield "|---|---|---|---|"
        yield from (_option(one) for one in options)
        yield ""
    for name, child in subcommands(command):
        yield from _command(child, f"{path} {name}", level=level + 1)


def subcommands(command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands of a group with their names, sorted; they are loaded when they are first used."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        found = ((name, command.get_command(context, name)) for name in sorted(command.list_commands(context)))
        yield from ((name, child) for name, child in found if child is not None and not child.hidden)


def _argument(argument: click.Argument) -> str:
    name = argument.human_readable_name.upper() + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _option(option: click.Option) -> str:
    names = ", ".join(_code(name) for name in [*option.opts, *option.secondary_opts])
    default = option.default
    stated = not option.is_flag and isinstance(default, str | int | float) and default != ""
    return _row(names, _value(option), _code(str(default)) if stated else "", option.help or "")


def _value(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return ", ".join(str(choice) for choice in option.type.choices)
    return (option.metavar or option.type.name).lower().strip("[]")


def _errors() -> Iterator[str]:
    yield "# Errors"
    yield ""
    yield "A job that fails ends as FAILURE with the name of one of these errors and its message. A `RequestError` is"
    yield "final: the same request would fail again. The fleet retries what has another chance, so a client need not."
    yield ""
    yield from _error_table(errors.FleetError, level=2)


def _error_table(base: type[Exception], *, level: int) -> Iterator[str]:
    children = _children(base)
    leaves = [one for one in children if not _children(one)]
    if leaves:
        yield "| error | message |"
        yield "|---|---|"
        yield from (_row(_code(one.__name__), _message(one)) for one in leaves)
        yield ""
    for one in children:
        if one not in leaves:
            yield f"{'#' * level} {one.__name__}"
            yield ""
            yield _message(one)
            yield ""
            yield from _error_table(one, level=level + 1)


def _children(base: type[Exception]) -> list[type[Exception]]:
    """Return the subclasses in the order of their declaration."""
    return [one for one in base.__subclasses__() if one.__module__ == errors.__name__]


def _message(error: type[Exception]) -> str:
    """Return the message of an error with its fields in angle brackets."""
    text = " ".join((error.__doc__ or "").split())
    return re.sub(r"\{(\w+)[^}]*\}", r"&lt;\1&gt;", text)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


if __name__ == "__main__":
    main()
