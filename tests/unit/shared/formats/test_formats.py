"""Output files are, byte for byte, those of whisper's own writers."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisper.utils import get_writer

from whisper_fleet.shared.formats import FORMATS, WRITERS
from whisper_fleet.shared.formats.layout import PLAIN as PLAIN_LAYOUT
from whisper_fleet.shared.formats.layout import SubtitleLayout
from whisper_fleet.shared.transcript import Segment, Transcript, Word, segments_from_whisper

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.text(" \t\n->a\u2028é", max_size=8),
    st.sampled_from([" Hello there.", " a --> b", " tab\there", "", " ", "x" * 999, "x" * 1001]),
)
SECONDS = st.floats(0, 50_000).map(lambda seconds: round(seconds, 3))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64)
WORDS = st.fixed_dictionaries({"word": TEXTS, "start": SECONDS, "end": SECONDS, "probability": NUMBERS})
PLAIN = {
    "id": st.integers(0, 10**6),
    "seek": st.integers(0, 10**7),
    "start": SECONDS,
    "end": SECONDS,
    "text": TEXTS,
    "tokens": st.lists(st.integers(0, 51865), max_size=5),
    "temperature": NUMBERS,
    "avg_logprob": NUMBERS,
    "compression_ratio": NUMBERS,
    "no_speech_prob": NUMBERS,
}
SEGMENTS = st.fixed_dictionaries(PLAIN)
SEGMENTS_WITH_WORDS = st.fixed_dictionaries({**PLAIN, "words": st.lists(WORDS, max_size=6)})


def transcripts(segments: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"text": TEXTS, "segments": st.lists(segments, max_size=5), "language": TEXTS})


def in_whispers_order(result: dict[str, Any]) -> dict[str, Any]:
    def order(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
        return {name: values[name] for name in names if name in values}

    segments = [order(segment, [*PLAIN, "words"]) for segment in result["segments"]]
    for segment in segments:
        if "words" in segment:
            segment["words"] = [order(word, ("word", "start", "end", "probability")) for word in segment["words"]]
    return {"text": result["text"], "segments": segments, "language": result["language"]}


def whispers(form: str, result: dict[str, Any], options: dict[str, Any] | None = None) -> str:
    file = io.StringIO()
    get_writer(form, "/").write_result(result, file=file, options=options)
    return file.getvalue()


def written(form: str, result: dict[str, Any], layout: SubtitleLayout = PLAIN_LAYOUT) -> str:
    return WRITERS[form](Transcript(**{**result, "segments": segments_from_whisper(result["segments"])}), layout)


@pytest.mark.parametrize("form", FORMATS)
@settings(deadline=None, max_examples=50)
@given(result=transcripts(SEGMENTS) | transcripts(SEGMENTS_WITH_WORDS))
def test_files_are_whispers(form: str, result: dict[str, Any]) -> None:
    result = in_whispers_order(result)
    assert written(form, result) == whispers(form, result)


# Words with pauses of some seconds, so that lines and subtitles end for each of their reasons.
SPOKEN = st.lists(
    st.lists(st.tuples(TEXTS | st.sampled_from([" a", " of", " sentence,", "-like"]), st.floats(0, 5)), max_size=8),
    max_size=5,
)
LAYOUTS = st.builds(
    SubtitleLayout,
    max_line_width=st.none() | st.integers(1, 40),
    max_line_count=st.none() | st.integers(1, 3),
    max_words_per_line=st.none() | st.integers(1, 5),
    highlight_words=st.booleans(),
)


def spoken_one_after_the_other(segments: list[list[tuple[str, float]]]) -> dict[str, Any]:
    time, parts = 0.0, []
    for number, segment in enumerate(segments):
        words = []
        for word, pause in segment:
            start, time = round(time + pause, 2), round(time + pause + 0.2, 2)
            words.append({"word": word, "start": start, "end": time, "probability": 0.5})
        plain = {**dict.fromkeys(PLAIN, 0), "id": number, "start": 0.0, "end": time, "text": " w", "tokens": []}
        parts.append({**plain, "words": words})
    return {"text": " w", "segments": parts, "language": "en"}


@pytest.mark.parametrize("form", FORMATS)
@settings(deadline=None, max_examples=150)
@given(segments=SPOKEN, layout=LAYOUTS)
def test_files_with_subtitle_options_are_whispers(
    form: str, segments: list[list[tuple[str, float]]], layout: SubtitleLayout
) -> None:
    result = spoken_one_after_the_other(segments)
    result["segments"] = [part.model_dump(exclude_none=True) for part in segments_from_whisper(result["segments"])]
    assert written(form, result, layout) == whispers(form, result, dataclasses.asdict(layout))


def test_lines_have_the_length_that_the_job_asked_for() -> None:
    segments = [[(" And", 0.1), (" so", 0.0), (" it", 0.0), (" begins.", 0.0)], [(" Later,", 4.0), (" on.", 0.0)]]
    layout = SubtitleLayout(max_line_width=7, max_line_count=1)
    srt = written("srt", spoken_one_after_the_other(segments), layout)
    assert [block.split("\n")[2:] for block in srt.rstrip().split("\n\n")] == [
        ["And so"],
        ["it"],
        ["begins."],
        ["Later,"],
        ["on."],
    ]
    highlighted = written("vtt", spoken_one_after_the_other(segments), SubtitleLayout(highlight_words=True))
    assert "00:00.100 --> 00:00.300\n<u>And</u> so it begins.\n" in highlighted


def test_a_new_speaker_begins_a_subtitle_where_lines_are_filled_across_segments() -> None:
    word = (Word(word=" Yes.", start=1.0, end=2.0, probability=0.9),)
    parts = tuple(segment(" Yes.", speaker=name, words=word) for name in ("Anna", "Anna", "Ben"))
    said = Transcript(text="", segments=parts, language="en")
    srt = WRITERS["srt"](said, SubtitleLayout(max_line_width=40, max_line_count=2))
    assert [line for line in srt.split("\n") if line.startswith("[")] == ["[Anna]: Yes. Yes.", "[Ben]: Yes."]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("count", [999, 1000, 1001, 2500])
def test_segments_of_very_many_words_are_divided_as_whisper_divides_them(form: str, count: int) -> None:
    words = [{"word": f" w{i}", "start": i / 10, "end": i / 10 + 0.1, "probability": 0.5} for i in range(count)]
    segment = {**dict.fromkeys(PLAIN, 0), "start": 0.0, "end": 300.0, "text": " w", "tokens": [], "words": words}
    result: dict[str, Any] = {"text": " w", "segments": [segment, {**segment, "id": 1}], "language": "en"}
    result["segments"] = [part.model_dump(exclude_none=True) for part in segments_from_whisper(result["segments"])]
    assert written(form, result) == whispers(form, result)


def segment(text: str, **fields: Any) -> Segment:
    numbers = {"temperature": 0.0, "avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.1}
    return Segment(**{"id": 0, "seek": 0, "start": 1.0, "end": 2.0, "text": text, "tokens": (), **numbers, **fields})


def test_an_empty_first_segment_does_not_hide_the_text_after_it() -> None:
    """Whisper gives an empty segment an empty list of words, also where no others have words; its writers fail."""
    said = Transcript(text=" Hello.", segments=(segment("", words=()), segment(" Hello.")), language="en")
    assert WRITERS["srt"](said).endswith("00:00:01,000 --> 00:00:02,000\nHello.\n\n")


@pytest.mark.parametrize(
    ("form", "line"), [("txt", "[Anna]: Hello.\n"), ("srt", "\n[Anna]: Hello.\n"), ("vtt", "\n[Anna]: Hello.\n")]
)
def test_a_speaker_that_a_post_processor_named_is_shown(form: str, line: str) -> None:
    for words in (None, (Word(word=" Hello.", start=1.0, end=2.0, probability=0.9),)):
        said = Transcript(text=" Hello.", segments=(segment(" Hello.", speaker="Anna", words=words),), language="en")
        assert line in WRITERS[form](said)
        assert said.to_dict()["segments"][0]["speaker"] == "Anna"
