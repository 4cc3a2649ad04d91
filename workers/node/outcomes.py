"""The ways in which an attempt can end early, and what follows from each: a table, and its look-up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from whisper_fleet.shared.errors import (
    EngineDown,
    EngineRequestInvalid,
    JobCancelled,
    JobNotFound,
    ModelUnavailable,
    RequestError,
    SegmentStopped,
    SlotLost,
    StaleAttempt,
)

#: Errors that the client has to fix: no further attempt would succeed.
NOT_RETRYABLE = (RequestError, EngineRequestInvalid, ModelUnavailable)


class JobRevoked(JobCancelled):
    """Job {job} was revoked by its client, which the ledger may not know yet."""


class SegmentRevoked(SegmentStopped):
    """The task of segment {segment} of job {job} was revoked."""


class Action(StrEnum):
    """The transition of the ledger with which an attempt ends; see JobActions."""

    NONE = "nothing"
    FAIL = "fail"
    CANCEL = "cancel"
    RETURN = "return_to_queue"
    REASSIGN = "reassign"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What follows when an attempt ends with one of these errors."""

    errors: tuple[type[Exception], ...]
    action: Action
    result: str | None  # what the task returns, shown in Flower; None: the error is raised again and shown as FAILURE

    @property
    def counts(self) -> bool:
        """Whether it uses up one of the segment's attempts."""
        return self.action is Action.RETURN


#: The first row that names an error's type decides, so subclasses come first. docs has the same table for readers.
OUTCOMES = (
    Outcome(errors=(JobRevoked,), action=Action.CANCEL, result="dropped"),
    Outcome(errors=(StaleAttempt, JobCancelled, JobNotFound), action=Action.NONE, result="dropped"),
    Outcome(errors=(SlotLost, EngineDown), action=Action.REASSIGN, result="reassigned"),
    Outcome(errors=(SegmentRevoked,), action=Action.CANCEL, result="cancelled"),
    Outcome(errors=(SegmentStopped,), action=Action.REASSIGN, result="reassigned"),
    Outcome(errors=NOT_RETRYABLE, action=Action.FAIL, result=None),
    Outcome(errors=(Exception,), action=Action.RETURN, result=None),
)


def outcome_of(error: Exception) -> Outcome:
    """Return the row of the table for an error."""
    return next(outcome for outcome in OUTCOMES if isinstance(error, outcome.errors))
