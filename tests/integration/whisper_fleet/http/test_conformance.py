"""The table of docs/guide/moving-from-whisper-1.md: each row is a check of the running server.

To write the table again: WRITE_CONFORMANCE=1 pytest tests/integration/whisper_fleet/http/test_conformance.py
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.whisper_fleet.http.conftest import ServedFleet
from whisper_fleet import FleetClient

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[4]
PAGE = REPOSITORY / "docs" / "guide" / "moving-from-whisper-1.md"
CLIP = REPOSITORY / "whisper_fleet" / "samples" / "sense_and_sensibility-0880.wav"
#: A tiny random model talks nonsense without end: its windows are kept short.
SHORT = {"sample_len": "12", "logprob_threshold": "-100.0", "no_speech_threshold": "null"}
PATH = "/v1/audio/transcriptions"
_START, _END = "<!-- conformance -->", "<!-- end -->"

Check = Callable[[httpx.Client], bool]


@dataclass(frozen=True)
class Row:
    """One feature, how it is checked here, and what is publicly known of other servers."""

    feature: str
    check: Check
    others: str = ""


def post(web: httpx.Client, path: str = PATH, **fields: Any) -> httpx.Response:
    data = {"model": "whisper-1", "language": "en", **SHORT, **fields}
    return web.post(path, data=data, files={"file": (CLIP.name, CLIP.read_bytes())})


def verbose(web: httpx.Client, **fields: Any) -> dict[str, Any]:
    response = post(web, response_format="verbose_json", **fields)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def has_numbers(web: httpx.Client) -> bool:
    (segment, *_) = verbose(web)["segments"]
    names = ("avg_logprob", "compression_ratio", "no_speech_prob", "temperature", "start", "end")
    return len(segment["tokens"]) > 0 and all(isinstance(segment[name], float) for name in names)


def has_words(web: httpx.Client) -> bool:
    body = verbose(web, **{"timestamp_granularities[]": ["word", "segment"]})
    return bool(body["words"]) and bool(body["segments"])


def has_only_words(web: httpx.Client) -> bool:
    body = verbose(web, **{"timestamp_granularities[]": "word"})
    return bool(body["words"]) and "segments" not in body


def has_ladder(web: httpx.Client) -> bool:
    """Ask for a threshold that no text reaches: Whisper then ends at temperature 1, and one pass stays where it is."""
    hopeless = {"logprob_threshold": "1.0", "no_speech_threshold": "null"}
    (ladder, *_) = verbose(web, **hopeless)["segments"]
    (fixed, *_) = verbose(web, **hopeless, temperature="0.4")["segments"]
    return (ladder["temperature"], fixed["temperature"]) == (1.0, 0.4)


def streams(web: httpx.Client) -> bool:
    lines = [line for line in post(web, stream="true").text.split("\n") if line]
    *events, last = [line.removeprefix("data: ") for line in lines]
    types = [json.loads(event)["type"] for event in events]
    return last == "[DONE]" and types[-1] == "transcript.text.done" and set(types[:-1]) == {"transcript.text.delta"}


def has_error_object(web: httpx.Client) -> bool:
    response = post(web, temperature="2")
    keys = set(response.json()["error"])
    return (
        response.status_code == 400
        and keys == {"message", "type", "param", "code"}
        and "x-request-id" in response.headers
    )


def is_bare(web: httpx.Client, response_format: str, begins: str) -> bool:
    response = post(web, response_format=response_format)
    return response.headers["content-type"].startswith("text/") and re.match(begins, response.text) is not None


def has_no_cap(web: httpx.Client) -> bool:
    """Send a file of more than 25 MB: silence around a second of noise, at the highest rate that the format has."""
    response = web.post(PATH, data={"model": "gpt-9"}, files={"file": ("a.wav", bytes(26 * 10**6))})
    return response.status_code == 404  # of the model: the size alone is accepted


ROWS = (
    Row("`json` with `usage`", lambda web: set(post(web).json()) == {"text", "usage"}),
    Row("`text`", lambda web: is_bare(web, "text", r".+\n$")),
    Row("`srt`", lambda web: is_bare(web, "srt", r"1\n00:00:"), "vLLM 0.28: no (PRs 36966, 46680)"),
    Row("`vtt`", lambda web: is_bare(web, "vtt", r"WEBVTT\n\n00:\d\d:"), "vLLM 0.28: no"),
    Row(
        "`verbose_json`: tokens and numbers of every segment, computed",
        has_numbers,
        "whisperx-asr-service: placeholders",
    ),
    Row("`language` as a name, such as `english`", lambda web: verbose(web)["language"] == "english"),
    Row("`duration` as a number", lambda web: isinstance(verbose(web)["duration"], float)),
    Row("Words with times", has_words, "vLLM 0.28: `null` (47664); LocalAI: `null` (9306)"),
    Row("Only words: no segments", has_only_words),
    Row("Segments with times by default", lambda web: bool(verbose(web)["segments"]), "speaches: not by default"),
    Row("`temperature` 0 is Whisper's fallback from 0 to 1", has_ladder, "vLLM 0.28: no fallback (58273)"),
    Row("Translation of a file", lambda web: "text" in post(web, "/v1/audio/translations").json()),
    Row("`stream` with OpenAI's events", streams, "vLLM 0.28: other events (49116)"),
    Row("Errors with all four keys, and `x-request-id`", has_error_object),
    Row("Files of more than 25 MB", has_no_cap, "vLLM 0.28: 25 MB and 600 s"),
)


@pytest.fixture(scope="module")
def results(served: ServedFleet) -> dict[str, bool]:
    with FleetClient(served.fleet.settings) as fleet:  # loads the model, so that no check waits for it
        fleet.result(fleet.submit(file_path=str(CLIP), language="en", sample_len=4), timeout=100)
    with httpx.Client(base_url=served.url, timeout=100) as web:
        return {row.feature: row.check(web) for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.feature)
def test_the_server_has_the_feature(results: dict[str, bool], row: Row) -> None:
    assert results[row.feature]


def test_the_page_has_the_table(results: dict[str, bool]) -> None:
    lines = ["| feature | Whisper Fleet | publicly known of others |", "|---|---|---|"]
    lines += [f"| {row.feature} | {'yes' if results[row.feature] else 'no'} | {row.others} |" for row in ROWS]
    page = PAGE.read_text()
    before, _, rest = page.partition(_START)
    _, _, after = rest.partition(_END)
    expected = f"{before}{_START}\n\n" + "\n".join(lines) + f"\n\n{_END}{after}"
    if os.environ.get("WRITE_CONFORMANCE"):
        PAGE.write_text(expected)
    assert page == expected
