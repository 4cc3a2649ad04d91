"""Transcripts that this machine writes: `result --output-dir`, and `submit` to a fleet that is reached over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whisper_fleet.outcome import JobResult, Outcome
from whisper_fleet.scheduler.intake.writers import target_of
from whisper_fleet.shared.errors import OutputNotWritable
from whisper_fleet.shared.transcript import Transcript
from whisper_fleet.shared.wire import TranscribeRequest

#: The options of a request that say how its files look.
_OPTIONS = ("formats", "max_line_width", "max_line_count", "max_words_per_line", "highlight_words")


def output_request(file: str, output_path: str, options: Mapping[str, Any]) -> TranscribeRequest:
    """Return the request whose files `write_transcript` is to write: those of a file, with these options."""
    chosen = {name: options[name] for name in _OPTIONS if options.get(name) is not None}
    return TranscribeRequest(file_path=file, model_name="any", output_path=output_path, **chosen)


def write_transcript(request: TranscribeRequest, result: JobResult) -> list[str]:
    """Write a transcript as the fleet would, and return the files; raises OutputNotWritable."""
    target = target_of(request)
    return target.write(transcript_of(result)) if target else []


def with_files(request: TranscribeRequest, outcome: Outcome) -> Outcome:
    """Write the transcript of a job that succeeded; return its outcome with the files, or why there are none."""
    if outcome.data is None:
        return outcome
    try:
        return Outcome(data={**outcome.data, "output_files": write_transcript(request, outcome.result)})
    except OutputNotWritable as error:
        return Outcome(data={**outcome.data, "output_errors": [str(error)]})


def transcript_of(result: JobResult) -> Transcript:
    """Return the transcript in a result."""
    return Transcript.model_validate(result.model_dump(include=set(Transcript.model_fields)))
