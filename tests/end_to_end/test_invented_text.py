"""Where nobody speaks, base writes something; the fleet says which segments those are, and drops them on request."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fleet_processes import FleetProcesses
from tests.support.foreign_talks import Break, break_of
from tests.support.speech_files import RATE, samples, words, write_wav

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]

#: Without whisper's own defence, so that base certainly writes something.
DEFENCELESS = {
    "language": "en",
    "temperature": 0.0,
    "no_speech_threshold": None,
    "logprob_threshold": None,
    "condition_on_previous_text": False,
}


@pytest.mark.parametrize(
    "kind",
    ["noise", pytest.param("silence", marks=pytest.mark.slow), pytest.param("music", marks=pytest.mark.slow)],
)
def test_invented_text_is_suspect_and_speech_is_not(
    fleet: FleetProcesses, speech: dict[Path, str], tmp_path: Path, kind: Break
) -> None:
    spoken = b"".join(samples(clip) for clip in speech)
    end = len(spoken) / 2 / RATE
    file = write_wav(tmp_path / "talk.wav", spoken + break_of(kind, 30))
    jobs = [fleet.submit(file_path=file, **DEFENCELESS, **more) for more in ({}, {"vad": "filter"})]
    result, filtered = (job.get(timeout=280) for job in jobs)

    said = [segment for segment in result["segments"] if segment["start"] < end]
    invented = [segment for segment in result["segments"] if segment["start"] >= end]
    assert said and not any("suspect" in segment for segment in said)
    assert invented and all("no_voice" in segment["suspect"] for segment in invented)
    assert words(filtered["text"]) == words("".join(segment["text"] for segment in said))
    assert [segment["text"] for segment in filtered["segments"]] == [segment["text"] for segment in said]
