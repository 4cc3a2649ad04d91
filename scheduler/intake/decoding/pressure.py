"""How far a file is decoded ahead of the GPUs. Pure."""

from __future__ import annotations

#: Segments of one job that are cut and not done: beyond it, decoding further would only fill the spool.
_ENOUGH = 32
#: The same per slot of the fleet, which one long file may keep busy alone.
_ENOUGH_PER_SLOT = 2


def is_far_ahead(unfinished: int, slots: int, *, has_room: bool) -> bool:
    """Return whether a job with this many unfinished segments lets other files be decoded.

    In a full spool a job keeps fewer; not none, or its GPUs would wait.
    """
    return unfinished >= (_enough(slots) if has_room else _enough(slots) // 4)


def resumes_at(slots: int) -> int:
    """Return the most unfinished segments with which a job is decoded on.

    That costs decoding its file from the beginning, so it is far below both limits of `is_far_ahead`.
    """
    return _enough(slots) // 8


def _enough(slots: int) -> int:
    return max(_ENOUGH, _ENOUGH_PER_SLOT * slots)
