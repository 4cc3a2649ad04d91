"""How far files are decoded ahead of the GPUs. Pure.

Two limits: of one job, whose file may be endless, and of all jobs, of which thousands may wait. Taking a file up again
costs decoding it from its beginning, so what ends a decoding is far from what starts it again.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Segments of one job that are cut and not done: beyond it, decoding further would only fill the spool.
_ENOUGH_OF_A_JOB = 128
#: The same per slot of the fleet, which one long file may keep busy alone.
_ENOUGH_OF_A_JOB_PER_SLOT = 2
#: Segments in the spool, of all jobs, for which the GPUs need some time.
_ENOUGH = 128
_ENOUGH_PER_SLOT = 4
#: Segments that are decoded of a job whose turn it is while there are enough of others.
_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Pressure:
    """What waits for the GPUs at one moment."""

    slots: int  # of the fleet
    spooled: float  # segments in the spool
    has_room: bool  # for another one in the spool

    @property
    def is_enough(self) -> bool:
        """Whether the GPUs have enough to do without the rest of one more file."""
        most = max(_ENOUGH, _ENOUGH_PER_SLOT * self.slots)
        return self.spooled >= most or (self.spooled >= 1 and not self.has_room)

    def stops(self, unfinished: int, *, is_first: bool) -> bool:
        """Return whether a job with this many unfinished segments lets other files be decoded.

        `is_first`: only the first segment of its file has been cut.
        """
        if self.is_enough:
            return is_first or unfinished >= _BATCH
        return unfinished >= (self._of_a_job if self.has_room else self._of_a_job // 4)

    @property
    def resumes_at(self) -> int:
        """The most unfinished segments with which a job is decoded on."""
        return 0 if self.is_enough else self._of_a_job // 8

    @property
    def _of_a_job(self) -> int:
        return max(_ENOUGH_OF_A_JOB, _ENOUGH_OF_A_JOB_PER_SLOT * self.slots)
