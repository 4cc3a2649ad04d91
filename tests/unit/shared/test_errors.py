"""Errors say what is wrong and what to do, and survive Celery's result backend."""

from __future__ import annotations

import pytest

from whisper_fleet.shared import errors


def test_the_docstring_is_the_message() -> None:
    with pytest.raises(errors.FileMissing, match=r"^/a\.wav does not exist on box: check the path"):
        raise errors.FileMissing(path="/a.wav", host="box")


def test_an_error_can_be_made_again_from_its_message() -> None:
    first = errors.UnknownModel(name="huge", known="tiny, base")
    assert str(errors.UnknownModel(*first.args)) == str(first)
