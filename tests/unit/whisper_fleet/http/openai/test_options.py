"""What the fields of OpenAI's forms ask of the fleet."""

from __future__ import annotations

from typing import Any

import pytest

from whisper_fleet.errors import FleetError, UnknownLanguage, UnknownModel
from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.openai.options import AudioOptions, audio_options
from whisper_fleet.shared.settings import Settings

SETTINGS = Settings(default_model="small", http_model_aliases={"gpt-4o-transcribe": "large-v3"})


def options(settings: Settings = SETTINGS, /, **fields: Any) -> AudioOptions:
    form = {name: [value] if isinstance(value, str) else value for name, value in fields.items()}
    return audio_options({"model": ["whisper-1"], **form}, "transcribe", settings)


def request_of(**fields: Any) -> dict[str, Any]:
    request = options(**fields).request
    assert request.pop("task") == "transcribe"
    return request


@pytest.mark.parametrize(
    ("name", "model"),
    [("whisper-1", "small"), ("small", "small"), ("gpt-4o-transcribe", "large-v3"), ("large-v2", "large-v2")],
)
def test_a_name_means_a_model(name: str, model: str) -> None:
    assert request_of(model=name) == {"model_name": model}


def test_an_alias_may_replace_openais_own_name() -> None:
    settings = Settings(http_model_aliases={"whisper-1": "large-v2"})
    assert options(settings).request["model_name"] == "large-v2"


@pytest.mark.parametrize(
    ("temperature", "asked"),
    [("", {}), ("0", {}), ("0.0", {}), ("0.4", {"temperature": 0.4}), ("1", {"temperature": 1.0})],
)
def test_temperature_zero_is_whispers_ladder(temperature: str, asked: dict[str, float]) -> None:
    assert request_of(temperature=temperature) == {"model_name": "small", **asked}


@pytest.mark.parametrize("name", ["timestamp_granularities[]", "timestamp_granularities", "timestamp_granularities[0]"])
def test_arrays_come_with_brackets_and_without(name: str) -> None:
    asked = options(response_format="verbose_json", **{name: ["word"]})
    assert (asked.has_words, asked.has_segments) == (True, False)
    assert asked.request["word_timestamps"] is True


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"language": "de"}, {"language": "de"}),
        ({"languages[]": ["de"]}, {"language": "de"}),
        ({"languages[]": ["de", "fr"]}, {}),
        ({"language": "en", "languages[]": ["de"]}, {"language": "en"}),
        ({"prompt": "Norland."}, {"initial_prompt": "Norland."}),
        ({"prompt": "Norland.", "keywords[]": ["Elinor", "Marianne"]}, {"initial_prompt": "Norland. Elinor, Marianne"}),
        ({"prompt": "x" * 5000}, {"initial_prompt": "x" * 4096}),
        ({"chunking_strategy": "auto"}, {"vad": "cut"}),
        ({"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "0.5"}, {"vad": "cut"}),
        (
            {"beam_size": "5", "condition_on_previous_text": "false"},
            {"beam_size": 5, "condition_on_previous_text": False},
        ),
        ({"suppress_tokens": "[1, 2]", "vad": "filter"}, {"suppress_tokens": [1, 2], "vad": "filter"}),
    ],
)
def test_each_field_has_an_effect(fields: dict[str, Any], asked: dict[str, Any]) -> None:
    assert request_of(**fields) == {"model_name": "small", **asked}


def test_segments_need_no_format_that_has_them_as_with_openai() -> None:
    assert options(response_format="text", **{"timestamp_granularities[]": "segment"}).request == {
        "task": "transcribe",
        "model_name": "small",
    }


@pytest.mark.parametrize(
    ("response_format", "setting", "streams"),
    [
        ("json", True, True),
        ("text", True, True),
        ("verbose_json", True, False),
        ("srt", True, False),
        ("json", False, False),
    ],
)
def test_stream_is_ignored_where_openai_ignores_it(response_format: str, setting: bool, streams: bool) -> None:
    settings = Settings(http_stream=setting)
    assert options(settings, stream="true", response_format=response_format).is_streamed is streams


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"temperature": "nan"}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": ["0", "1"]}, "temperature"),
        ({"stream": "maybe"}, "stream"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"include[]": "logprobs"}, "include"),
        ({"include[]": "everything"}, "include"),
        ({"known_speaker_references[]": "data:"}, "known_speaker_references"),
        ({"prompt": "<|endoftext|>"}, "prompt"),
        ({"beam_size": "0"}, "beam_size"),
        ({"max_line_width": "40"}, "max_line_width"),
        ({"priority": "0"}, "priority"),
        ({"file_path": "/etc/passwd"}, "file_path"),
        ({"x" * 200: "1"}, "x" * 100),
    ],
)
def test_a_field_that_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        options(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("fields", "error"), [({"language": "klingon"}, UnknownLanguage), ({"model": "/etc/passwd"}, UnknownModel)]
)
def test_errors_of_the_fleet_pass(fields: dict[str, str], error: type[FleetError]) -> None:
    with pytest.raises(error):
        options(**fields)
