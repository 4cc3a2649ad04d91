"""Every command in the pages of the documentation, as a shell would read it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: What separates commands on a line; what follows a redirection is a file.
_SEPARATORS = {"|", "&&", "||", ";", "&"}
_REDIRECTIONS = {">", ">>", "<", "2>", "2>&1"}
#: Languages of fenced blocks whose lines are commands; a block without a language is a drawing.
_SHELLS = {"sh", "bash", "shell", "console"}


@dataclass(frozen=True)
class Command:
    """A program with its arguments, and where it is written."""

    page: Path
    line: int
    words: tuple[str, ...]

    @property
    def program(self) -> str:
        """Return the program's name without its directory."""
        return self.words[0].rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}: {shlex.join(self.words)}"


def commands_in(page: Path) -> Iterator[Command]:
    """Yield the commands in a page's blocks that are indented by four spaces, or fenced as a shell's."""
    for number, text in _logical_lines(page.read_text()):
        try:
            lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>")
            lexer.whitespace_split = True
            words = list(lexer)
        except ValueError:
            continue  # a drawing or another language
        yield from (Command(page, number, tuple(part)) for part in _split(words) if part)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of shell blocks with their numbers; a backslash at the end joins a line with the next."""
    fence, joined, first = None, "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"```(\w*)", line):
            fence = match[1] if fence is None else None
            continue
        is_shell = fence in _SHELLS or (fence is None and line.startswith("    "))
        if not is_shell:
            continue
        first = first if joined else number
        if line.endswith("\\"):
            joined += line[:-1]
            continue
        yield first, (joined + line).strip()
        joined = ""


def _split(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    skips = False
    for word in words:
        if word in _SEPARATORS:
            yield command
            command = []
        elif word in _REDIRECTIONS:
            skips = True
        elif skips:
            skips = False
        elif command or not re.fullmatch(r"[A-Z_]+=.*", word):  # a variable before the program
            command.append(word)
    yield command
