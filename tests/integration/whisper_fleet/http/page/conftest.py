"""The page in a real browser, in front of the fleet with the tiny model."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.support.browser import running_browser

SAMPLES = Path(__file__).parents[5] / "whisper_fleet" / "samples"
CLIP = SAMPLES / "sense_and_sensibility-0880.wav"

#: Without these the model with random weights hears nothing, or talks for long.
_SHORT = {"sample_len": 12, "logprob_threshold": -100.0, "no_speech_threshold": 1.0, "language": "en"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


def shorten_jobs(page: Page) -> None:
    """Add what the tiny model needs to the jobs that the page submits."""

    def submit(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
            return
        body: dict[str, Any] = {**json.loads(route.request.post_data or "{}"), **_SHORT}
        route.continue_(post_data=json.dumps(body))

    page.route("**/v1/jobs", submit)


def drop_files(page: Page, files: dict[str, bytes]) -> None:
    """Drop files onto the page, as a person would with the mouse."""
    given = [[name, base64.b64encode(content).decode()] for name, content in files.items()]
    transfer = page.evaluate_handle(
        """async (given) => {
            const transfer = new DataTransfer();
            for (const [name, content] of given) {
                const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
                transfer.items.add(new File([bytes], name, { type: "audio/wav" }));
            }
            return transfer;
        }""",
        given,
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
