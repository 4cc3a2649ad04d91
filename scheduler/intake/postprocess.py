"""Post-processors: what an installed package does with a transcript before its files are written.

A package names its post-processor in the entry point group `whisper_fleet.postprocessors`:

    [project.entry-points."whisper_fleet.postprocessors"]
    speakers = "my_package:name_speakers"
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

from whisper_fleet.shared.plugins import extensions
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.transcript import Transcript
from whisper_fleet.shared.wire import TranscribeRequest

_log = logging.getLogger(__name__)

_GROUP = "whisper_fleet.postprocessors"


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """The job whose transcript it is. `whisper_fleet.shared.audio.sources.opened` provides its file."""

    job: str
    request: TranscribeRequest
    duration: float  # seconds of audio
    settings: Settings


class PostProcessor(Protocol):
    """Returns the transcript to write and to return, for example one whose segments have speakers.

    It runs in the process of intake that assembles the job, which no other process does meanwhile. If that process
    is killed it runs again. If it raises an error, the job ends with the transcript as it was before, and the result
    has the error in `output_errors`.
    """

    def __call__(self, transcript: Transcript, context: JobContext, /) -> Transcript: ...


def post_process(transcript: Transcript, context: JobContext, errors: list[str]) -> Transcript:
    """Return what the installed post-processors make of a transcript, one after the other by their names.

    The transcript is not lost with one that fails: what went wrong is appended to `errors`.
    """
    processors: dict[str, PostProcessor] = extensions(_GROUP)
    for name, processor in processors.items():
        try:
            transcript = processor(transcript, context)
        except Exception as error:
            _log.exception("the post-processor %s failed on job %s", name, context.job)
            errors.append(f"post-processor {name}: {type(error).__name__}: {error}")
    return transcript
