"""Each command in README and docs is read by the real parser, checked by a test, or listed as run by hand."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from tests.support.documented_commands import Command, commands_in
from whisper_fleet.cli.main import commands

REPOSITORY = Path(__file__).parents[3]
PAGES = [
    *sorted(REPOSITORY.glob("README*.md")),
    *(REPOSITORY / name for name in ("CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
#: Written from click's own declarations, with words such as [OPTIONS] in place of arguments.
GENERATED = REPOSITORY / "docs" / "reference"

#: Programs whose commands another test checks.
CHECKED = {
    "make": "test_pages.py: the target exists",
    "python": "test_pages.py: the module exists; test_bundle.py runs install.py",
    "python3": "test_pages.py: the module exists; test_bundle.py runs install.py",
    "pytest": "the test tree itself",
    "curl": "tests/integration/whisper_fleet/http: the guides' examples run against a server",
    "redis-cli": "tests/integration/deploy/test_backup.py",
    "redis-server": "tests/integration/deploy/test_backup.py",
    "tar": "tests/integration/deploy/test_bundle.py",
    "promtool": "tests/unit/deploy: rules and their tests",
    "docker": "tests/unit/deploy: the compose file's schema, and each service's command",
    "systemctl": "tests/unit/deploy: systemd-analyze verify",
    "kubectl": "tests/unit/deploy: every manifest is validated",
}
#: Programs of the system, with plain arguments, run by hand for the page that shows them.
BY_HAND = {
    *("cat", "cp", "du", "echo", "export", "git", "grep", "install", "journalctl", "jq", "nvidia-smi"),
    *("pip", "sed", "systemd-sysusers", "tr"),
}
#: Lines of blocks that are no commands: settings of Redis.
NOT_COMMANDS = {"appendonly", "maxmemory-policy"}


def documented() -> list[Command]:
    return [one for page in PAGES if GENERATED not in page.parents for one in commands_in(page)]


OURS = [one for one in documented() if one.program == "whisper-fleet"]


def test_there_are_commands_to_check() -> None:
    assert len(OURS) > 50
    assert {one.page.name for one in OURS} >= {"README.md", "quickstart.md", "troubleshooting.md", "operating.md"}


@pytest.mark.parametrize("command", OURS, ids=str)
def test_our_commands_are_accepted_by_their_parser(command: Command) -> None:
    """The parser reads the words as they are written; only files that a reader would have are allowed to be missing."""
    try:
        parse(commands, list(command.words[1:]))
    except click.BadParameter as error:
        assert "does not exist" in error.format_message(), f"{command}: {error.format_message()}"
    except click.UsageError as error:
        pytest.fail(f"{command}: {error.format_message()}")


def parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Parse the words as click does before it calls anything; raises its errors."""
    context = command.make_context(command.name, words, parent=parent)
    if isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, child, rest = command.resolve_command(context, rest)
        assert child is not None, name
        parse(child, rest, context)


def others() -> list[Command]:
    """Return the commands of other programs in pages for users; those of internals and benchmarks explain code."""
    inner = {"internals", "decisions", "benchmarks"}
    programs = [one for one in documented() if inner.isdisjoint(one.page.parts) and looks_like_a_program(one.program)]
    return [one for one in programs if one.program != "whisper-fleet" and one.program not in NOT_COMMANDS]


def test_every_other_command_is_checked_or_known_as_run_by_hand() -> None:
    unknown = [str(one) for one in others() if one.program not in CHECKED and one.program not in BY_HAND]
    assert unknown == [], "run each by hand, and add its program to BY_HAND; or have a test check it, and name that"


def test_the_list_holds_no_program_that_no_page_shows() -> None:
    assert BY_HAND - {one.program for one in others()} == set()


def looks_like_a_program(word: str) -> bool:
    """Return whether a word is a program, and not the beginning of a drawing, a setting or a line of code."""
    return re.fullmatch(r"[a-z][a-z0-9-]*", word) is not None
