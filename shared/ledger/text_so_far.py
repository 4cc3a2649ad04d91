"""The text of a job while it runs: what its nodes have reported, in the order of the recording.

A node stores the text of its segment so far with every report, and all of it when the segment is done. Segments run at
the same time, so the text of one counts only when all before it are complete. A position in it is a segment and a
number of characters: whoever has one can go on reading there, from any process. If a segment is attempted again, its
text shrinks for a while; a reader then waits until it is longer again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text

#: Characters of one segment that are kept; an hour of fast speech has fewer.
MOST_TEXT = 2**17


@dataclass(frozen=True, order=True)
class TextPosition:
    """Where a reader is: everything before it has been read."""

    segment: int = 0
    characters: int = 0

    def __str__(self) -> str:
        return f"{self.segment}.{self.characters}"

    @classmethod
    def parse(cls, written: str) -> TextPosition | None:
        """Return the position that `str` wrote; None for anything else."""
        match = re.fullmatch(r"(\d{1,9})\.(\d{1,9})", written)
        return None if match is None else cls(int(match[1]), int(match[2]))


async def read_text(redis: Redis, job: str, position: TextPosition) -> tuple[str, TextPosition]:
    """Return the text behind a position that is there by now, and the position at its end."""
    found = ""
    while True:
        segment = str(position.segment)
        stored, is_done = cast(
            "list[bytes | None]", await redis.hmget(keys.text_so_far(job), [segment, f"{segment}/done"])
        )
        new = "" if stored is None else text(stored)[position.characters :]
        found += new
        if is_done is None:
            return found, TextPosition(position.segment, position.characters + len(new))
        position = TextPosition(position.segment + 1)


def end_of_text(redis: BlockingRedis, job: str, characters: int) -> str:
    """Return the last characters of a job's text so far: of its first segment that is not done and has text."""
    names = [text(name) for name in cast("list[bytes]", redis.hkeys(keys.text_so_far(job)))]
    segments = sorted(int(name) for name in names if name.isdecimal())
    done = {int(name.partition("/")[0]) for name in names if name.endswith("/done")}
    if not segments:
        return ""
    segment = next((one for one in segments if one not in done), segments[-1])
    stored = cast("bytes | None", redis.hget(keys.text_so_far(job), str(segment)))
    return "" if stored is None else text(stored)[-characters:]
