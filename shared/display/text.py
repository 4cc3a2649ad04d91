"""Text that a client chose, made safe for a terminal and a log: it can neither move the cursor nor reorder a line."""

from __future__ import annotations

import json
import unicodedata
from pathlib import PurePath
from urllib.parse import urlsplit

#: Control, format (bidirectional overrides, zero-width characters), half of a pair, line and paragraph separator.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: Letters by their category, but without a glyph.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
#: What text in several lines may hold besides: line breaks, tabs, and the joiners and marks that scripts need.
_IN_TEXT = frozenset("\n\t\u200c\u200d\u200e\u200f")


def printable(text: object) -> str:
    r"""Return a name, path or message as one line in which every character is visible: an escape is shown as \x1b.

    A backslash is left as it is, so the result is for people, not for parsing.
    """
    return "".join(map(_visible, str(text)))


def printable_text(text: object) -> str:
    """Return a text of several lines, such as a transcript, without what controls a terminal or reorders a line."""
    return "".join(character if character in _IN_TEXT else _visible(character) for character in str(text))


def printable_json(value: object) -> str:
    """Return a value as indented JSON in which every invisible character is escaped, so that nothing is lost."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return "".join(
        character if character == "\n" or _visible(character) == character else json.dumps(character)[1:-1]
        for character in text
    )


def file_name(address: str) -> str:
    """Return the last part of a path or URL as one visible line; a query is left out, because it may hold a key."""
    path = path_of_url(address) if "://" in address else address
    return printable(PurePath(path).name or address)


def path_of_url(url: str) -> str:
    """Return the path of a URL; all of one that is malformed, such as http://[."""
    try:
        return urlsplit(url).path
    except ValueError:
        return url


def _visible(character: str) -> str:
    if character.isascii() and character.isprintable():
        return character
    if unicodedata.category(character) in _ESCAPED or character in _INVISIBLE:
        return character.encode("unicode_escape").decode()
    return character
