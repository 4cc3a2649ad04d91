"""OpenAI's own Python client against the server: every format, field and error that its users meet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.integration.whisper_fleet.http.conftest import ServedFleet
from whisper_fleet import FleetClient, JobResult

pytestmark = pytest.mark.integration

SAMPLES = Path(__file__).parents[4] / "whisper_fleet" / "samples"
CLIP = SAMPLES / "sense_and_sensibility-0880.wav"
#: A tiny random model talks nonsense without end: its windows are kept short, and one temperature is enough.
SHORT: dict[str, Any] = {"sample_len": 12, "logprob_threshold": -100.0, "no_speech_threshold": None}
EXTRA: dict[str, Any] = {"extra_body": {"sample_len": 12, "logprob_threshold": -100.0, "no_speech_threshold": "null"}}


def transcribe(client: openai.OpenAI, path: Path = CLIP, **options: Any) -> Any:
    extra = {"extra_body": {**EXTRA["extra_body"], **options.pop("extra_body", {})}}
    return client.audio.transcriptions.create(file=path, model="whisper-1", **{"language": "en", **options, **extra})


@pytest.fixture(scope="module")
def expected(served: ServedFleet) -> JobResult:
    """What the fleet's own client gets for the same file and options."""
    return result(served, word_timestamps=False)


@pytest.fixture(scope="module")
def expected_words(served: ServedFleet) -> JobResult:
    """The same with the times of words, by which Whisper also cuts its windows otherwise."""
    return result(served, word_timestamps=True)


def result(served: ServedFleet, **options: Any) -> JobResult:
    with FleetClient(served.fleet.settings) as fleet:
        return fleet.result(fleet.submit(file_path=str(CLIP), language="en", **options, **SHORT), timeout=100)


def test_json_has_the_text_and_what_it_counts_as(client: openai.OpenAI, expected: JobResult) -> None:
    answer = transcribe(client)
    assert answer.text == expected.text.strip() != ""
    assert answer.usage.to_dict() == {"type": "duration", "seconds": 3}


def test_text_and_subtitles_are_bare(client: openai.OpenAI, expected: JobResult) -> None:
    assert transcribe(client, response_format="text") == expected.text.strip() + "\n"
    assert re.match(r"1\n\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}\n", transcribe(client, response_format="srt"))
    assert re.match(r"WEBVTT\n\n00:\d\d:\d\d\.\d{3} --> 00:", transcribe(client, response_format="vtt"))


def test_verbose_json_has_whispers_numbers(client: openai.OpenAI, expected: JobResult) -> None:
    answer = transcribe(client, response_format="verbose_json")
    assert (answer.task, answer.language, answer.duration) == ("transcribe", "english", expected.duration_s)
    assert answer.words is None
    assert [segment.to_dict() for segment in answer.segments] == [
        segment.model_dump(mode="json", include=set(openai.types.audio.TranscriptionSegment.model_fields))
        for segment in expected.segments
    ]


@pytest.mark.parametrize(
    ("granularities", "has_segments", "has_words"),
    [(["word"], False, True), (["segment"], True, False), (["word", "segment"], True, True)],
)
def test_granularities_choose_what_verbose_json_holds(
    client: openai.OpenAI, expected_words: JobResult, granularities: list[Any], has_segments: bool, has_words: bool
) -> None:
    answer = transcribe(client, response_format="verbose_json", timestamp_granularities=granularities)
    assert (answer.segments is not None, answer.words is not None) == (has_segments, has_words)
    if has_words:
        words = [word for segment in expected_words.segments for word in segment.words or ()]
        assert [(word.word, word.start, word.end) for word in answer.words] == [
            (word.word.strip(), word.start, word.end) for word in words
        ]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI removes the route; this server keeps it
def test_translations_are_translated(client: openai.OpenAI) -> None:
    answer: Any = client.audio.translations.create(
        file=CLIP,
        model="whisper-1",
        response_format="verbose_json",
        extra_body={**EXTRA["extra_body"], "language": "de"},
    )
    assert (answer.task, answer.language) == ("translate", "german")
    assert client.audio.translations.create(file=CLIP, model="whisper-1", **EXTRA).text


def test_a_stream_has_the_text_in_pieces_and_then_as_a_whole(client: openai.OpenAI, expected: JobResult) -> None:
    events = list(transcribe(client, stream=True))
    assert [event.type for event in events[-1:]] == ["transcript.text.done"]
    assert {event.type for event in events[:-1]} == {"transcript.text.delta"}
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == expected.text.strip()
    assert events[-1].usage.seconds == 3


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"response_format": "diarized_json"}, "response_format"),
        ({"response_format": "yaml"}, "response_format"),
        ({"language": "klingon"}, "language"),
        ({"temperature": 1.5}, "temperature"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
        ({"response_format": "verbose_json", "timestamp_granularities": ["letter"]}, "timestamp_granularities"),
        ({"include": ["logprobs"]}, "include"),
        ({"known_speaker_names": ["Elinor"]}, "known_speaker_names"),
        ({"prompt": "<|endoftext|>"}, "prompt"),
        ({"extra_body": {"tenant": "other"}}, "tenant"),
        ({"extra_body": {"output_path": "/tmp"}}, "output_path"),
        ({"extra_body": {"beam_size": "many"}}, "beam_size"),
    ],
)
def test_a_wrong_field_is_named(client: openai.OpenAI, options: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        transcribe(client, **options)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id is not None


@pytest.mark.parametrize("name", ["gpt-9", "/etc/passwd", "../base"])
def test_a_model_that_does_not_exist_is_a_404(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.transcriptions.create(file=CLIP, model=name)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_what_is_no_audio_is_a_bad_request_about_the_file(client: openai.OpenAI) -> None:
    for content in (b"", b"no audio at all", b"PK\x03\x04" + bytes(1000)):
        with pytest.raises(openai.BadRequestError) as caught:
            client.audio.transcriptions.create(file=("x.wav", content), model="whisper-1")
        assert caught.value.param == "file"


def test_accepted_fields_of_other_models_change_nothing_that_was_not_asked_for(
    client: openai.OpenAI, expected: JobResult
) -> None:
    answer = transcribe(client, chunking_strategy="auto", languages=["en"], temperature=0)
    assert answer.text == expected.text.strip()
    strategy: Any = {"type": "server_vad", "threshold": 0.5}
    assert transcribe(client, chunking_strategy=strategy).text == expected.text.strip()
    assert transcribe(client, keywords=["Norland", "Elinor"], prompt="Of Sussex.").text


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert "whisper-1" in [model.id for model in client.models.list()]
    assert client.models.retrieve("whisper-1").owned_by == "whisper-fleet"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
