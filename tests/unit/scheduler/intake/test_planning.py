"""What intake finds out about a request before any work is done."""

from __future__ import annotations

import pytest

from whisper_fleet.scheduler.intake.planning import check_language
from whisper_fleet.shared.errors import BadOption
from whisper_fleet.shared.settings import Settings


@pytest.mark.parametrize("model", ["tiny", "base", "large-v2"])
def test_a_language_that_came_after_the_model_is_refused(model: str) -> None:
    with pytest.raises(BadOption, match=f"the model {model} does not know 'yue'"):
        check_language("yue", model, Settings())


@pytest.mark.parametrize(
    ("language", "model"), [("yue", "large-v3"), ("yue", "turbo"), ("su", "base"), ("en", "base"), ("fr", "base.en")]
)
def test_a_language_that_whisper_takes_with_the_model_is_none_of_intakes_business(language: str, model: str) -> None:
    check_language(language, model, Settings())
