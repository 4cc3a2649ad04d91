"""OpenAI's own Python client, through the HTTP server, hears what Whisper base itself hears."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
import whisper

from tests.conftest import SPEECH
from tests.support.fleet_processes import FleetProcesses
from tests.support.guarded_redis import GuardedRedis
from tests.support.http_server import running_server
from tests.support.speech_files import RATE, pause, samples, word_errors, words, write_wav
from whisper_fleet.deploy.redis.users import HTTP

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(400)]

CLIP = min(SPEECH.glob("*.wav"), key=lambda clip: clip.stat().st_size)
LONG_MINUTES = 30


@pytest.fixture(scope="module")
def client(fleet: FleetProcesses, guarded: GuardedRedis) -> Iterator[openai.OpenAI]:
    settings = fleet.settings.model_copy(update={"redis_url": guarded.urls[HTTP.name]})
    with (
        running_server(settings) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=1500) as client,
    ):
        yield client


def test_verbose_json_with_words_is_what_whisper_itself_gives(client: openai.OpenAI, base_model: Path) -> None:
    heard = client.audio.transcriptions.create(
        file=CLIP, model="whisper-1", response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    model = whisper.load_model(str(base_model), device="cpu")
    model.set_alignment_heads(whisper._ALIGNMENT_HEADS["base"])
    audio = np.frombuffer(samples(CLIP), np.int16).astype(np.float32) / 32768
    expected = whisper.transcribe(model, audio, fp16=False, word_timestamps=True)
    assert (heard.text, heard.language) == (expected["text"].strip(), "english")
    said = [
        (word["word"].strip(), word["start"], word["end"]) for each in expected["segments"] for word in each["words"]
    ]
    assert [(word.word.strip(), word.start, word.end) for word in heard.words or ()] == said != []
    for ours, theirs in zip(heard.segments or (), expected["segments"], strict=True):
        assert (ours.text, ours.tokens, ours.start, ours.end) == tuple(
            theirs[name] for name in ("text", "tokens", "start", "end")
        )


def test_streamed_text_adds_up(client: openai.OpenAI, tmp_path: Path) -> None:
    file = write_wav(tmp_path / "talk.wav", pause(1).join(samples(clip) for clip in sorted(SPEECH.glob("*.wav"))))
    whole = client.audio.transcriptions.create(file=file, model="whisper-1", language="en")
    events = list(client.audio.transcriptions.create(file=file, model="whisper-1", language="en", stream=True))
    *deltas, done = events
    assert (deltas[0].type, done.type) == ("transcript.text.delta", "transcript.text.done")
    assert "".join(event.delta for event in deltas if event.type == "transcript.text.delta") == whole.text
    assert done.type == "transcript.text.done" and done.text == whole.text


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_thirty_minutes_come_back_in_one_answer(client: openai.OpenAI, speech: dict[Path, str], tmp_path: Path) -> None:
    pieces, said, length = list[bytes](), list[str](), 0
    for clip, text in itertools.cycle(speech.items()):
        if length >= LONG_MINUTES * 60 * RATE * 2:
            break
        pieces.append(samples(clip) + pause(0.8))
        length += len(pieces[-1])
        said += words(text)
    heard = client.audio.transcriptions.create(
        file=write_wav(tmp_path / "long.wav", b"".join(pieces)),
        model="whisper-1",
        language="en",
        response_format="verbose_json",
        extra_body={"condition_on_previous_text": "false"},
    )
    assert heard.duration == pytest.approx(length / 2 / RATE, abs=0.01)
    assert word_errors(words(heard.text), said) / len(said) <= 0.03
