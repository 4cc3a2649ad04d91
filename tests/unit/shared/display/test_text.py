"""What a client chose is shown without any effect on the terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_fleet.shared.display.text import file_name, printable, printable_text
from whisper_fleet.shared.errors import FileMissing, UnknownOption

#: Any text, also with halves of surrogate pairs, and often with the characters in question.
ANY = st.text(st.one_of(st.characters(), st.sampled_from("\x00\x1b\x7f\x9b\r\n\u200b\u202e\u2028\ufeff\ud800\u3164")))


@given(ANY)
def test_every_character_of_a_line_is_visible(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert shown.splitlines() in ([shown], [])
    shown.encode()  # also a name that is not UTF-8 can be written
    assert printable(shown) == shown


@given(
    st.text(
        st.characters(exclude_categories=["C", "Z"], exclude_characters="\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
    )
)
def test_what_is_visible_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@given(ANY)
def test_a_text_keeps_its_lines_and_nothing_that_controls(text: str) -> None:
    shown = printable_text(text)
    assert shown.count("\n") == text.count("\n")
    shown.encode()
    assert not set(shown) & set("\x00\x1b\x7f\x9b\r\u202e\u2066\u2028")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07talk.mp3", "\\x1b]0;title\\x07talk.mp3"),
        ("a\r\nERROR forged", "a\\r\\nERROR forged"),
        ("exe.\u202e3pm.mp3", "exe.\\u202e3pm.mp3"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("caf\udce9.mp3", "caf\\udce9.mp3"),
        ("会议 录音　1.mp3", "会议 录音　1.mp3"),
        ("C:\\new", "C:\\new"),
    ],
)
def test_escapes_are_those_of_python(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_transcript_keeps_the_joiners_of_its_script() -> None:
    assert printable_text("می\u200cخواهم\n\x1b[2J") == "می\u200cخواهم\n\\x1b[2J"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/in/a talk.mp3", "a talk.mp3"),
        ("https://host/in/talk.mp3?key=secret#x", "talk.mp3"),
        ("https://host", "https://host"),
        ("http://[", "["),
        ("/in/\x1b[2J.mp3", "\\x1b[2J.mp3"),
        ("", ""),
    ],
)
def test_the_name_of_a_file_is_the_last_part_of_its_address(address: str, name: str) -> None:
    assert file_name(address) == name


@given(ANY)
def test_errors_name_what_a_client_sent_in_one_visible_line(text: str) -> None:
    for error in (FileMissing(path=text, host="h"), UnknownOption(name=text, hint="")):
        assert printable(error) == str(error)
