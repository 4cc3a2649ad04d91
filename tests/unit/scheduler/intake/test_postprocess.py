"""An installed package changes a transcript before its files are written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PACKAGE = """
def name_speakers(transcript, context):
    segments = [segment.model_copy(update={"speaker": context.job}) for segment in transcript.segments]
    return transcript.model_copy(update={"segments": tuple(segments)})

def shout(transcript, context):
    return transcript.model_copy(update={"text": transcript.text.upper()})

def middle(samples):
    return len(samples) // 2

def fails(transcript, context):
    raise ValueError("no speakers today")

class Bucket:
    may_expire = True
"""

ENTRY_POINTS = """
[whisper_fleet.postprocessors]
b_shout = diarization:shout
a_speakers = diarization:name_speakers
c_fails = diarization:fails

[whisper_fleet.cutters]
middle = diarization:middle

[whisper_fleet.sources]
s3 = diarization:Bucket
"""

PROGRAM = """
from whisper_fleet.scheduler.intake.cutters import cutter_of
from whisper_fleet.scheduler.intake.postprocess import JobContext, post_process
from whisper_fleet.shared.audio.sources import source_of
from whisper_fleet.shared.formats import WRITERS
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.transcript import Transcript, segments_from_whisper
from whisper_fleet.shared.wire import TranscribeRequest

numbers = dict(temperature=0.0, avg_logprob=-0.1, compression_ratio=1.0, no_speech_prob=0.0)
segment = dict(id=0, seek=0, start=0.0, end=1.0, text=" Hello.", tokens=[1], **numbers)
transcript = Transcript(text=" Hello.", segments=segments_from_whisper([segment]), language="en")
request = TranscribeRequest(file_path="/a.wav", model_name="base")
context = JobContext(job="Anna", request=request, duration=1.0, settings=Settings(cutter="middle"))
done = post_process(transcript, context, errors := [])
assert errors == ["post-processor c_fails: ValueError: no speakers today"]
print(done.text, WRITERS["txt"](done).strip(), cutter_of(context.settings)([1, 2, 3, 4]), source_of("s3://b/k").__name__)
"""


def test_extensions_of_an_installed_package_are_found_and_run_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "diarization.py").write_text(PACKAGE)
    metadata = tmp_path / "diarization-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: diarization\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.stdout.split("\n")[0] == " HELLO. [Anna]: Hello. 2 Bucket", done.stderr
