"""What the pages of the documentation name exists: paths, modules, commands, links and make targets."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from benchmarks.__main__ import BENCHMARKS, listing
from docs.generate import subcommands
from whisper_fleet.cli.main import commands

REPOSITORY = Path(__file__).parents[3]
PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), REPOSITORY / "benchmarks" / "README.md"]
)
LONGEST_LINE = 120

_FOLDERS = "shared|scheduler|workers|deploy|whisper_fleet|benchmarks|tests|docs"


def pages_with_lines() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for line in page.read_text().splitlines():
            yield page, line


def named_in(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=named_in)
def test_paths_and_links_exist(page: Path) -> None:
    text = page.read_text()
    paths = [REPOSITORY / path for path in re.findall(rf"`((?:{_FOLDERS})/[\w./-]+)`", text)]
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    paths += [(page.parent / link.partition("#")[0]) if link.partition("#")[0] else page for link in links]
    assert [str(path) for path in paths if not path.exists()] == []
    anchors = [(page.parent / link.partition("#")[0], link.partition("#")[2]) for link in links if "#" in link]
    missing = [anchor for path, anchor in anchors if anchor not in headings(path if path.is_file() else page)]
    assert missing == []


def headings(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


#: Benchmarks name their own commands in their docstrings.
BENCHMARK_FILES = sorted((REPOSITORY / "benchmarks").rglob("*.py"))


@pytest.mark.parametrize("page", [*PAGES, *BENCHMARK_FILES], ids=named_in)
def test_modules_exist(page: Path) -> None:
    text = page.read_text()
    run = re.findall(r"python -m ([\w.]+)", text) + re.findall(r"(?:celery -A|from) (whisper_fleet[\w.]*)", text)
    assert [name for name in run if not module_exists(name)] == []


def module_exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_commands_and_their_options_exist() -> None:
    known_commands = dict(subcommands(commands))
    for page, line in pages_with_lines():
        for name, rest in re.findall(r"(?:^    |`|bin/)whisper-fleet (\w[\w-]*)([^`#]*)", line):
            assert name in known_commands, (page, line)
            command = named_command(known_commands[name], rest)
            known = {option for parameter in command.params for option in parameter.opts}
            assert set(re.findall(r"(?<!\w)--[a-z-]+", rest)) <= known | {"--help"}, (page, line)


def named_command(command: click.Command, rest: str) -> click.Command:
    """Return the subcommand of a group that the text behind the group's name begins with; else the command itself."""
    children = dict(subcommands(command))
    return next((children[word] for word in re.findall(r"^ ([a-z-]+)", rest) if word in children), command)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for page, line in pages_with_lines():
        for target in re.findall(r"(?:^    |`)make ([a-z-]+)", line):
            assert target in targets, (page, line)


def test_prose_is_not_wider_than_a_screen() -> None:
    long = [
        (named_in(page), line)
        for page, line in pages_with_lines()
        if len(line) > LONGEST_LINE and not line.startswith("|") and "://" not in line
    ]
    assert long == []


def test_every_page_is_reachable_from_the_index() -> None:
    index, reached = REPOSITORY / "docs" / "index.md", set[Path]()
    waiting = [index]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            links = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text())
            waiting += [(page.parent / link).resolve() for link in links if "://" not in link]
    assert {named_in(page) for page in (REPOSITORY / "docs").rglob("*.md") if page not in reached} == set()


def test_every_benchmark_is_listed_and_exists() -> None:
    assert [one.module for one in BENCHMARKS if not module_exists(one.module)] == []
    packages = {one.module.rpartition(".__main__")[0] or one.module for one in BENCHMARKS}
    found = {path.parent.relative_to(REPOSITORY) for path in (REPOSITORY / "benchmarks").glob("*/**/__main__.py")}
    assert {".".join(path.parts) for path in found} <= packages
    assert all(one.command in listing() for one in BENCHMARKS)
