"""What makes a segment suspect, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from whisper_fleet.shared.evidence.phrases import PHRASES, is_known_phrase
from whisper_fleet.shared.evidence.signs import cheap_signs, has_loop, judged
from whisper_fleet.shared.transcript import Segment


def segment(text: str, **numbers: Any) -> Segment:
    usual = {"temperature": 0.0, "avg_logprob": -0.3, "compression_ratio": 1.3, "no_speech_prob": 0.1}
    return Segment(id=0, seek=0, start=0.0, end=2.0, text=text, tokens=(), **{**usual, **numbers})


def signs(text: str, **numbers: Any) -> tuple[str, ...]:
    return cheap_signs([segment(text, **numbers)])[0]


@pytest.mark.parametrize(
    ("text", "numbers", "expected"),
    [
        (" Good morning, and thank you for coming.", {}, ()),
        (" Good morning.", {"compression_ratio": 2.5}, ("compression_ratio",)),
        (" Good morning.", {"compression_ratio": 2.4, "avg_logprob": -1.0, "no_speech_prob": 0.6}, ()),
        (" Good morning.", {"avg_logprob": -1.1}, ("avg_logprob",)),
        (" Good morning.", {"no_speech_prob": 0.7}, ("no_speech_prob",)),
        (" Good morning.", {"avg_logprob": None, "compression_ratio": None, "no_speech_prob": None}, ()),
        (" you", {"no_speech_prob": 0.7}, ("no_speech_prob", "known_phrase")),
        (" Thank you.", {}, ("known_phrase",)),
        (" Thank you, Mr Smith.", {}, ()),
        (" so so so so so so so", {}, ("repetition",)),
        ("", {"no_speech_prob": 0.9}, ()),  # nothing was invented
        (" ...", {"no_speech_prob": 0.9}, ()),
    ],
)
def test_a_sign_in_numbers_or_text(text: str, numbers: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert signs(text, **numbers) == expected


@pytest.mark.parametrize(
    ("text", "is_loop"),
    [
        ("no no no no", False),
        ("no no no no no no", True),
        ("we are here we are here we are here", False),
        ("we are here " * 4, True),
        ("and then " + "i don t know what to do " * 4, True),
        ("one two three four five six seven eight", False),
        ("", False),
    ],
)
def test_a_unit_that_is_repeated_in_a_row_is_a_loop(text: str, is_loop: bool) -> None:
    assert has_loop(text.split()) is is_loop


def test_a_language_without_spaces_is_read_by_its_characters() -> None:
    assert "repetition" in signs("ご視聴" * 4)
    assert "repetition" not in signs("ありがとうございました")


@pytest.mark.parametrize(
    ("texts", "looped"),
    [
        ("a a b", ""),
        ("a a a b", "012"),
        ("x a b a b a b y", "123456"),
        ("a b c a b c a b c", "012345678"),
        ("a b a b c", ""),
        ("x a a a a", "1234"),
    ],
)
def test_segments_that_are_repeated_in_turn_are_a_loop(texts: str, looped: str) -> None:
    words = {"a": " It rains again.", "b": " The sun shines.", "c": " Snow falls.", "x": " Before it.", "y": " Later."}
    found = cheap_signs([segment(words[letter]) for letter in texts.split()])
    assert [number for number, reasons in enumerate(found) if reasons == ("repetition",)] == [int(n) for n in looped]


@pytest.mark.parametrize(
    ("given", "speech", "expected"),
    [
        (("known_phrase",), 0.8, ()),  # somebody did thank the audience
        (("known_phrase", "no_speech_prob"), 0.0, ("known_phrase", "no_speech_prob", "no_voice")),
        (("known_phrase",), 0.1, ("known_phrase",)),
        (("repetition", "no_speech_prob"), 0.9, ("repetition",)),
        (("compression_ratio",), 0.0, ("compression_ratio", "no_voice")),
        (("known_phrase",), None, ("known_phrase",)),  # without a detector
    ],
)
def test_speech_refutes_the_signs_of_silence_and_its_absence_is_one(given: Any, speech: Any, expected: Any) -> None:
    assert judged(given, speech) == expected


def test_every_phrase_is_found_whatever_its_punctuation() -> None:
    assert all(is_known_phrase(phrase) for phrases in PHRASES.values() for phrase in phrases)
    assert is_known_phrase(" Untertitel der Amara.org-Community")
    assert is_known_phrase(" ¡Gracias por ver el video!")
    assert is_known_phrase("ご視聴ありがとうございました。")
    assert not is_known_phrase("")
