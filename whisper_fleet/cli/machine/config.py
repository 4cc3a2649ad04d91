"""`config`: the settings of this machine, where each value comes from, and a settings file to start with."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import click
from rich.text import Text

from whisper_fleet.cli.terminal.printing import Finding, print_findings, results_console
from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.fields import describe
from whisper_fleet.shared.settings import GROUPS, PREFIX, Settings, is_set_by_variable, load_settings, unknown_names
from whisper_fleet.shared.settings.file import read_settings_file, settings_file, usual_places
from whisper_fleet.shared.settings.reload import reloadable_settings

_SECRETS = frozenset({"redis_url"})  # that may hold a password


@click.group()
def config() -> None:
    """Check or show the settings of this machine, or print a settings file to start with."""


@config.command()
def check() -> None:
    """Check the settings file and the environment; exit code 1 if a value is wrong."""
    load_settings()  # main reports what is wrong
    file = settings_file()
    source = f"the settings file {file}" if file else f"no settings file (usual places: {_places()})"
    findings = [Finding("good", f"every setting is valid; {source}")]
    findings += [Finding("bad", f"{name} is not a setting and has no effect") for name in unknown_names()]
    print_findings(findings)
    if len(findings) > 1:
        sys.exit(1)


@config.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON: name, value, source and reloadable.")
def show(as_json: bool) -> None:
    """Show every setting with its value, where it comes from, and whether a change needs a restart.

    Passwords are hidden. What needs no restart is changed by `whisper-fleet reload`.
    """
    rows, reloadable = list(_rows(load_settings())), reloadable_settings()
    if as_json:
        shown = ("name", "value", "source", "reloadable")
        print(json.dumps([dict(zip(shown, (*row, row[0] in reloadable), strict=True)) for row in rows]))
        return
    console = results_console()
    for name, value, source in rows:
        style = "dim" if source == "default" else ""
        note = "" if name in reloadable else "; needs a restart"
        console.print(Text(printable(f"{name} = {json.dumps(value)}   ({source}{note})"), style), soft_wrap=True)


@config.command()
def default() -> None:
    """Print a settings file with every setting, its default and its description."""
    print(default_settings_file())


def default_settings_file() -> str:
    """Return a settings file in TOML with every setting as a comment: its description and its default."""
    fields = {field.name: field for field in describe(Settings)}
    lines = ["# Settings of Whisper Fleet. Remove the # before a line to change it; WHISPER_FLEET_<NAME> overrides it."]
    for title, group in GROUPS.items():
        lines += ["", f"[{title.lower().replace(' ', '_')}]"]
        for name in group.model_fields:
            if name == "cuda_visible_devices":  # CUDA's own variable
                continue
            unit = f" [{fields[name].unit}]" if fields[name].unit else ""
            lines += [f"# {fields[name].description}{unit}", f"# {name} = {_toml(fields[name].default)}"]
    return "\n".join(lines)


def _rows(settings: Settings) -> Iterator[tuple[str, object, str]]:
    """Yield name, value and source of each setting."""
    file = settings_file()
    in_file = read_settings_file(file) if file else {}
    values = settings.model_dump(mode="json")
    for group in GROUPS.values():
        for name in group.model_fields:
            source = str(file) if name in in_file else "default"
            source = f"{PREFIX}{name.upper()}" if is_set_by_variable(name) else source
            yield name, _hidden(values[name]) if name in _SECRETS else values[name], source


def _hidden(url: str) -> str:
    """Return a URL with its password replaced."""
    scheme, _, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    user = login.partition(":")[0]
    return f"{scheme}://{user}:***@{place}" if at else url


def _toml(default: str) -> str:
    """Return a default, which pages show as JSON, in TOML; dots where the default is no value."""
    return '"..."' if default in ("", "null") else default


def _places() -> str:
    return ", ".join(map(str, usual_places()))
