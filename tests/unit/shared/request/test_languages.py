"""Whisper's languages, copied so that a client needs no torch, are whisper's."""

from __future__ import annotations

from whisper.tokenizer import LANGUAGES as WHISPERS_LANGUAGES
from whisper.tokenizer import TO_LANGUAGE_CODE

from whisper_fleet.shared.request.languages import LANGUAGE_CODES, LANGUAGES


def test_languages_are_whispers_in_whispers_order() -> None:
    assert list(LANGUAGES.items()) == list(WHISPERS_LANGUAGES.items())


def test_names_of_languages_are_those_that_whisper_accepts() -> None:
    assert {**{code: code for code in WHISPERS_LANGUAGES}, **TO_LANGUAGE_CODE} == LANGUAGE_CODES
