"""Which lines of a batch's input are valid, and what each asks for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from whisper_fleet.http.batches import lines
from whisper_fleet.http.batches.lines import ENDPOINT, job_of, options_of, read_lines, source_of
from whisper_fleet.http.errors import ApiError
from whisper_fleet.shared.settings import Settings


def request(**changes: Any) -> dict[str, Any]:
    return {"custom_id": "a", "method": "POST", "url": ENDPOINT, "body": {"model": "whisper-1"}, **changes}


def data(*requests: Any) -> bytes:
    return b"\n".join(json.dumps(each).encode() for each in requests)


def test_every_line_is_a_request_and_empty_ones_are_skipped() -> None:
    found, errors = read_lines(data(request()) + b"\r\n\n" + data(request(custom_id="b")) + b"\n", ENDPOINT)
    assert ([line.custom_id for line in found], errors) == (["a", "b"], [])


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ("no object", "invalid_json_line"),
        (request(custom_id=""), "missing_required_parameter"),
        (request(custom_id="x" * 513), "missing_required_parameter"),
        (request(custom_id="b", method="GET"), "invalid_method"),
        (request(custom_id="b", url="/v1/embeddings"), "mismatched_endpoint"),
        (request(custom_id="b", body=[]), "missing_required_parameter"),
        (request(), "duplicate_custom_id"),
    ],
)
def test_a_wrong_line_is_named(wrong: Any, code: str) -> None:
    _, errors = read_lines(data(request(), wrong), ENDPOINT)
    assert [(error.code, error.line) for error in errors] == [(code, 2)]


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_json_is_named(content: bytes) -> None:
    assert [error.code for error in read_lines(content, ENDPOINT)[1]] == ["invalid_json_line"]


def test_a_file_is_refused_that_is_empty_or_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [error.code for error in read_lines(b"\n", ENDPOINT)[1]] == ["empty_file"]
    monkeypatch.setattr(lines, "MOST_LINES", 1)
    content = data(request(), request(custom_id="b"))
    assert [error.code for error in read_lines(content, ENDPOINT)[1]] == ["too_many_requests"]
    monkeypatch.setattr(lines, "MOST_BYTES", 10)
    assert [error.code for error in read_lines(content, ENDPOINT)[1]] == ["file_too_large"]


def test_only_the_first_errors_of_many_are_listed() -> None:
    assert len(read_lines(b"{\n" * 1000, ENDPOINT)[1]) == 20


def test_a_body_names_its_audio_once() -> None:
    assert source_of({"file_id": "file-1"}).file_id == "file-1"
    assert source_of({"file": "file-1"}).file_id == "file-1"
    assert source_of({"file": "https://a/x"}).address == source_of({"url": "https://a/x"}).address == "https://a/x"
    for body in ({}, {"file_id": "a", "url": "b"}, {"file_id": 7}):
        with pytest.raises(ApiError):
            source_of(body)


def test_a_body_has_the_fields_of_the_endpoint() -> None:
    body = {
        "file_id": "f",
        "model": "whisper-1",
        "response_format": "verbose_json",
        "timestamp_granularities": ["word", "segment"],
        "temperature": 0.5,
        "prompt": "1984",
        "stream": True,
        "vad": "filter",
    }
    options = options_of(body, Settings())
    assert options.has_words and options.has_segments and not options.is_streamed
    assert options.request["temperature"] == 0.5
    assert (options.request["initial_prompt"], options.request["vad"]) == ("1984", "filter")
    with pytest.raises(ApiError):
        options_of({"model": "whisper-1", "nonsense": 1}, Settings())


def test_the_job_of_a_line_is_always_the_same() -> None:
    assert job_of("batch_1", 7) == job_of("batch_1", 7)
    assert len({job_of("batch_1", 7), job_of("batch_1", 8), job_of("batch_2", 7)}) == 3
