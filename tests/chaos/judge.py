"""Compares what became of a load with an undisturbed run. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The answer that one client got."""

    file: int  # which file of noise it asked for
    state: str  # Celery's
    error: str = ""
    transcript: str = ""
    written: str | None = ""  # None: the answer reports that it could not be written
    segments: int = 0
    deliveries: int = 1  # how often its callback was sent

    def with_deliveries(self, deliveries: int) -> Outcome:
        return replace(self, deliveries=deliveries)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What an undisturbed run gave for each file of noise."""

    transcripts: Mapping[int, str]
    written: Mapping[int, str]

    @classmethod
    def of(cls, outcomes: Collection[Outcome]) -> Reference:
        """Return the reference; jobs for the same file must agree."""
        assert all(outcome.state == "SUCCESS" for outcome in outcomes), [outcome.error for outcome in outcomes]
        reference = cls(
            transcripts={outcome.file: outcome.transcript for outcome in outcomes},
            written={outcome.file: outcome.written or "" for outcome in outcomes},
        )
        assert not any(reference.is_altered(outcome) for outcome in outcomes), "engines are not reproducible"
        return reference

    def is_altered(self, outcome: Outcome) -> bool:
        """Return whether a transcript, or a file that is reported as written, differs from the undisturbed run."""
        if outcome.transcript != self.transcripts[outcome.file]:
            return True
        return outcome.written is not None and outcome.written != self.written[outcome.file]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a row did to its load; each list holds the ids of jobs."""

    lost: tuple[str, ...] = ()  # no answer, or its callback was never sent
    doubled: tuple[str, ...] = ()  # its callback was sent more than once
    altered: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()  # an error that the request does not deserve
    forgotten: int = 0  # jobs that a restored Redis did not know, and whose clients got an error
    leftovers: tuple[str, ...] = ()
    resumed: float | None = None  # seconds; None: it was not seen
    seconds: float = 0.0  # from the submission to the last answer
    notes: tuple[str, ...] = field(default=())

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.altered or self.failed or self.leftovers)


#: The errors that a client gets for a job that a restored Redis does not know.
FORGOTTEN = ("JobNotFound", "JobForgotten")


def judge(jobs: Collection[str], outcomes: Mapping[str, Outcome], reference: Reference, *, forgets: bool) -> Verdict:
    """Return the verdict on a load, without times and leftovers. `forgets`: the ledger was set back."""
    ended = {job: outcome for job, outcome in outcomes.items() if outcome.state == "SUCCESS"}
    wrong = {job: outcome for job, outcome in outcomes.items() if outcome.state != "SUCCESS"}
    excused = {job for job, outcome in wrong.items() if forgets and any(name in outcome.error for name in FORGOTTEN)}
    unanswered = set(jobs) - outcomes.keys()
    silent = set() if forgets else {job for job, outcome in ended.items() if outcome.deliveries == 0}
    return Verdict(
        lost=tuple(sorted(unanswered | silent)),
        doubled=tuple(sorted(job for job, outcome in ended.items() if outcome.deliveries > 1)),
        altered=tuple(sorted(job for job, outcome in ended.items() if reference.is_altered(outcome))),
        failed=tuple(sorted(wrong.keys() - excused)),
        forgotten=len(excused),
        notes=tuple(sorted({wrong[job].error[:200] for job in wrong.keys() - excused})),
    )
