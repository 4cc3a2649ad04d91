"""What a client's keyword arguments come to, and what is said about those that are wrong."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Any

import pytest
import whisper
from whisper.decoding import DecodingOptions
from whisper.tokenizer import get_tokenizer

from whisper_fleet.shared.errors import BadOption, BadPriority, RequestError, UnknownLanguage, UnknownOption
from whisper_fleet.shared.formats import FORMATS
from whisper_fleet.shared.request.options import TranscribeRequest, WhisperOptions
from whisper_fleet.shared.request.parsing import FleetDefaults, as_keywords, describe_options, parse_request

DEFAULTS = FleetDefaults(
    default_model="base",
    default_precision="float16",
    segment_duration=300.0,
)


def parse(**asked: Any) -> TranscribeRequest:
    return parse_request({"file_path": "/audio.wav", **asked}, DEFAULTS)


def test_a_path_is_enough() -> None:
    request = parse()
    assert (request.model_name, request.precision, request.priority) == ("base", "float16", 5)
    assert request.formats == FORMATS


def test_labels_are_an_object_or_a_text() -> None:
    assert parse(labels={"a": "b"}).labels == parse(labels="a=b").labels == {"a": "b"}
    assert parse(labels="a=b,c=d=e").labels == {"a": "b", "c": "d=e"}
    assert "labels" not in as_keywords(parse())
    for wrong in ({"a": 1}, {"": "x"}, [1], {str(n): "" for n in range(17)}, {"a" * 65: ""}, {"a": "b" * 513}):
        with pytest.raises(BadOption, match="labels"):
            parse(labels=wrong)


def test_what_is_none_is_left_to_the_fleet() -> None:
    assert parse(model_name=None, language=None, gpu_ids=None, output_path=None, priority=None) == parse()


@pytest.mark.parametrize(
    ("asked", "field", "meant"),
    [
        ({"language": "German"}, "language", "de"),
        ({"language": "auto"}, "language", None),
        ({"gpu_ids": 1}, "gpu_ids", ("1",)),
        ({"gpu_ids": [0, "host-a:1"]}, "gpu_ids", ("0", "host-a:1")),
        ({"gpu_ids": "0, host:1"}, "gpu_ids", ("0", "host:1")),
        ({"gpu_ids": ["GPU-1a2b-3c"]}, "gpu_ids", ("GPU-1a2b-3c",)),
        ({"formats": "txt,srt"}, "formats", ("txt", "srt")),
        ({"formats": ["all"]}, "formats", FORMATS),
        ({"segment_duration": 60}, "segment_duration", 60.0),
        ({"priority": 0}, "priority", 0),
        ({"audio_track": 0}, "audio_track", 0),
        ({"channel": "Left"}, "channel", "left"),
        ({"channel": 3}, "channel", "3"),
        ({"channel": "3"}, "channel", "3"),
        ({"channel": "mix"}, "channel", None),
        ({"keep_time": True}, "keep_time", True),
        ({"max_line_width": 42, "word_timestamps": True}, "max_line_width", 42),
        ({"highlight_words": False}, "highlight_words", False),
        ({"temperature": [0.0, 0.4]}, "options", {"temperature": [0.0, 0.4]}),
        ({"compression_ratio_threshold": None}, "options", {"compression_ratio_threshold": None}),
    ],
)
def test_values_are_taken_as_they_are_meant(asked: dict[str, Any], field: str, meant: object) -> None:
    assert getattr(parse(**asked), field) == meant


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"file_path": None}, BadOption, "file_path"),
        ({"file_path": 7}, BadOption, "not a text"),
        ({"file_path": "\0"}, BadOption, "holds a NUL character"),
        ({"model_name": "/a\0b"}, BadOption, "holds a NUL character"),
        ({"langauge": "de"}, UnknownOption, "did you mean 'language'?"),
        ({"clip_timestamps": "0"}, UnknownOption, "clip_timestamps"),
        ({"language": "klingon"}, UnknownLanguage, "klingon"),
        ({"language": 5}, UnknownLanguage, "5"),
        ({"priority": 10}, BadPriority, "10"),
        ({"priority": True}, BadPriority, "True"),
        ({"priority": "high"}, BadPriority, "high"),
        ({"segment_duration": 5}, BadOption, "between 30 and 3600"),
        ({"segment_duration": float("nan")}, BadOption, "segment_duration"),
        ({"precision": "int8"}, BadOption, "float16"),
        ({"task": "summarise"}, BadOption, "translate"),
        ({"word_timestamps": "yes"}, BadOption, "word_timestamps"),
        ({"formats": ["pdf"]}, BadOption, "txt"),
        ({"formats": []}, BadOption, "formats"),
        ({"gpu_ids": [True]}, BadOption, "gpu_ids"),
        ({"gpu_ids": ["; rm"]}, BadOption, "gpu_ids"),
        ({"gpu_ids": [str(index) for index in range(65)]}, BadOption, "has 65 entries, at most 64"),
        ({"gpu_ids": ",".join(["0"] * 100_000)}, BadOption, "has 100000 entries, at most 64"),
        ({"gpu_ids": ["host:" + "1" * 10_000]}, BadOption, "gpu_ids"),
        ({"gpu_ids": [10**30]}, BadOption, "gpu_ids"),
        ({"tenant": "t" * 256}, BadOption, "has 256 characters, at most 255"),
        ({"file_path": "/" + "p" * 4096}, BadOption, "is too long"),
        ({"output_path": "relative"}, BadOption, "absolute"),
        ({"beam_size": 0}, BadOption, "beam_size"),
        ({"beam_size": True}, BadOption, "beam_size"),
        ({"temperature": []}, BadOption, "temperature"),
        ({"patience": 2.0}, BadOption, "beam_size"),
        ({"audio_track": -1}, BadOption, "-1 is not between 0 and 999"),
        ({"audio_track": "1"}, BadOption, "audio_track"),
        ({"channel": "up"}, BadOption, "none of mix, left, right"),
        ({"channel": True}, BadOption, "none of mix, left, right"),
        ({"channel": 1.0}, BadOption, "channel"),
        ({"channel": "1,aresample=1"}, BadOption, "channel"),
        ({"keep_time": 1}, BadOption, "neither true nor false"),
        ({"max_line_width": 42}, BadOption, "needs word_timestamps"),
        ({"highlight_words": True}, BadOption, "needs word_timestamps"),
        ({"max_words_per_line": 0, "word_timestamps": True}, BadOption, "0 words is not between 1 and 1000 words"),
        (
            {"max_line_width": 900, "max_line_count": 2, "highlight_words": True, "word_timestamps": True},
            BadOption,
            "may have 1000 characters, not 1800",
        ),
        ({"callback_url": "ftp://x"}, BadOption, "callback_url"),
        ({"file_path": "/not utf-8 \udcff.wav"}, BadOption, "UTF-8"),
        ({"tenant": "\ud800"}, BadOption, "UTF-8"),
        ({"segment_duration": 10**400}, BadOption, "between 30 and 3600"),
        ({"suppress_tokens": [1] * 60_000}, BadOption, "suppress_tokens"),
        ({"suppress_tokens": "1, two"}, BadOption, "suppress_tokens"),
        ({"initial_prompt": "A talk.<|endoftext|>"}, BadOption, "<|endoftext|> is a token of Whisper's own"),
        ({"prefix": "<|0.00|> A"}, BadOption, "<|0.00|> is a token"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(asked: dict[str, Any], error: type[RequestError], says: str) -> None:
    with pytest.raises(error) as caught:
        parse(**asked)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


@pytest.mark.parametrize(
    "name", ["file_path", "language", "formats", "gpu_ids", "priority", "task", "temperature", "segment_duration"]
)
def test_what_is_wrong_and_huge_is_not_repeated_in_full(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(**{name: ["x" * 100_000]})
    assert len(str(caught.value)) < 500


def test_a_name_that_is_huge_is_not_repeated_in_full() -> None:
    with pytest.raises(UnknownOption) as caught:
        parse(**{"x" * 100_000: 1})
    assert len(str(caught.value)) < 500


def test_texts_that_whispers_tokenizer_refuses_are_refused_at_once() -> None:
    for token in get_tokenizer(multilingual=True).encoding.special_tokens_set:
        with pytest.raises(BadOption):
            parse(initial_prompt=f"A talk.{token}")
    assert parse(initial_prompt="a <| b <|name|>").options == {"initial_prompt": "a <| b <|name|>"}


@pytest.mark.parametrize("tokens", ["-1", "", "1", " 1, 2 ,-1", [-1, 5]])
def test_tokens_to_suppress_are_taken_as_whisper_takes_them(tokens: str | list[int]) -> None:
    assert parse(suppress_tokens=tokens).options == {"suppress_tokens": tokens}


def test_options_that_are_not_set_leave_no_trace_in_the_json() -> None:
    new = {"audio_track", "channel", "keep_time", "max_line_width", "max_line_count", "max_words_per_line"}
    assert new.isdisjoint(json.loads(parse(keep_time=False, channel="mix", highlight_words=False).to_json()))
    chosen = parse(keep_time=True, channel="right", audio_track=2, highlight_words=True, word_timestamps=True)
    assert TranscribeRequest.from_json(chosen.to_json()) == parse(**as_keywords(chosen)) == chosen


def test_a_language_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(UnknownLanguage, match="udc80"):
        parse(language="\udc80")


def test_a_request_that_a_newer_version_wrote_is_read_though_a_client_could_not_send_it() -> None:
    newer = parse().model_copy(update={"formats": ("docx",), "language": "tlh", "gpu_ids": ("rack:*",)})
    assert TranscribeRequest.from_json(newer.to_json()) == newer


def test_a_request_that_an_older_version_wrote_is_read_though_its_tenant_is_longer_than_it_may_be_now() -> None:
    older = parse().model_copy(update={"tenant": "t" * 4096, "gpu_ids": tuple(map(str, range(100)))})
    assert TranscribeRequest.from_json(older.to_json()) == older


def test_every_option_is_described_with_its_range_and_unit() -> None:
    options = {option.name: option for option in describe_options()}
    assert all(option.description for option in options.values())
    duration, priority, formats = options["segment_duration"], options["priority"], options["formats"]
    assert (duration.type, duration.range, duration.unit) == ("number", "30 to 3600", "s")
    assert duration.default == "WHISPER_FLEET_SEGMENT_DURATION"
    assert (priority.type, priority.default, priority.range) == ("whole number", "5", "0 to 9")
    assert (formats.type, formats.choices) == ("list of txt, srt, vtt, tsv, json", FORMATS)
    assert "options" not in options


def test_the_defaults_of_whispers_options_are_whispers() -> None:
    arguments: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(DecodingOptions)}
    arguments |= {name: each.default for name, each in inspect.signature(whisper.transcribe).parameters.items()}
    arguments["temperature"] = list(arguments["temperature"])
    assert WhisperOptions().model_dump() == {name: arguments[name] for name in WhisperOptions.model_fields}


def test_a_request_made_from_its_keywords_is_the_same() -> None:
    request = parse(language="de", gpu_ids=["0"], beam_size=5, temperature=0.0, output_path="/out")
    assert parse(**as_keywords(request)) == request


def test_every_option_is_one_of_whispers_own() -> None:
    own = set(inspect.signature(whisper.transcribe).parameters)
    own |= {field.name for field in dataclasses.fields(DecodingOptions)}
    assert set(WhisperOptions.model_fields) <= own
    not_a_jobs = {"model", "audio", "verbose", "fp16", "clip_timestamps", "prompt", "decode_options"}
    assert own - set(WhisperOptions.model_fields) - not_a_jobs == {"task", "language", "word_timestamps"}
