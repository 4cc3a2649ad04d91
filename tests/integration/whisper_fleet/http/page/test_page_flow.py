"""What a person does on the page: drop files, watch, play, search, download, cancel and delete, in both languages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration.whisper_fleet.http.conftest import ServedFleet
from tests.integration.whisper_fleet.http.page.conftest import CLIP, drop_files, shorten_jobs
from tests.support.browser import opened_page, serious_findings
from tests.support.waiting import wait_until
from whisper_fleet.shared.http.uploads import Uploads

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

FORMATS = ("txt", "srt", "vtt", "tsv", "json")
#: The name of a file that tries to run a script, to hide its ending and to look like two lines.
HOSTILE = "<img src=x onerror=document.title='owned'>\u202evaw.\nexe.wav"
SHOWN = r"<img src=x onerror=document.title='owned'>\u202evaw.\nexe.wav"

WORDS = {
    "en-US": {"done": "Done", "cancel": "Cancel", "cancelled": "Cancelled", "delete": "Delete", "play": "Play"},
    "zh-CN": {"done": "完成", "cancel": "取消任务", "cancelled": "已取消", "delete": "删除", "play": "播放"},
}


@pytest.fixture(params=["en-US", "zh-CN"])
def page(request: pytest.FixtureRequest, browser: Browser, served: ServedFleet) -> Iterator[Page]:
    scheme = "light" if request.param == "en-US" else "dark"
    with opened_page(browser, "about:blank", locale=request.param, color_scheme=scheme) as page:
        shorten_jobs(page)
        page.goto(served.url)
        yield page


@contextmanager
def paused_intake(served: ServedFleet) -> Iterator[None]:
    """Let no job begin while the context lasts."""
    intake = psutil.Process(served.fleet.processes["intake"].pid)
    intake.suspend()
    try:
        yield
    finally:
        intake.resume()


def row(page: Page, name: str) -> Any:
    return page.locator(".job").filter(has_text=name)


def delete_open_job(page: Page, words: dict[str, str]) -> None:
    page.locator(".actions").get_by_role("button", name=words["delete"], exact=True).click()
    page.locator("#confirm-yes").click()


def test_files_are_dropped_watched_played_downloaded_cancelled_and_deleted(
    page: Page, served: ServedFleet, web: httpx.Client
) -> None:
    words = WORDS[page.evaluate("navigator.language")]
    before = {job["id"] for job in web.get("/v1/jobs", params={"limit": 100}).json()["data"]}
    stored = set(Uploads(served.fleet.settings).all())
    assert serious_findings(page) == []

    clip = CLIP.read_bytes()
    drop_files(page, {"talk one.wav": clip, HOSTILE: clip})
    for name in ("talk one.wav", SHOWN):
        expect(row(page, name).locator(".meta")).to_contain_text(words["done"], timeout=60_000)
    assert page.title() != "owned"

    page.locator("#options summary").click()
    with paused_intake(served):  # so that the job waits until it is cancelled
        drop_files(page, {"talk three.wav": clip})
        row(page, "talk three.wav").click()
        expect(page.locator(".status")).to_be_visible()
        assert serious_findings(page) == []
        page.locator(".actions").get_by_role("button", name=words["cancel"], exact=True).click()
        page.locator("#confirm-yes").click()
        expect(page.locator(".facts")).to_contain_text(words["cancelled"])

    row(page, "talk one.wav").click()
    expect(page.locator(".word").first).to_be_visible()
    assert serious_findings(page) == []
    check_playback(page, words)
    check_search(page)
    check_downloads(page, web)

    page.locator("#nav-fleet").click()
    expect(page.locator(".gpu")).to_be_visible()
    assert serious_findings(page) == []
    page.locator("#nav-jobs").click()

    for name in ("talk one.wav", SHOWN, "talk three.wav"):
        row(page, name).click()
        delete_open_job(page, words)
        expect(row(page, name)).to_have_count(0)
    left = {job["id"] for job in web.get("/v1/jobs", params={"limit": 100}).json()["data"]}
    assert left == before
    wait_until(lambda: set(Uploads(served.fleet.settings).all()) == stored)


def check_playback(page: Page, words: dict[str, str]) -> None:
    """Play by a word and by the button; the word that is spoken is highlighted."""
    second = page.locator(".word").nth(1)
    second.click()
    expect(page.locator(".word.spoken")).to_have_count(1)
    page.locator(".player .play").click()
    expect(page.locator(".player .play")).to_have_attribute("aria-label", words["play"])
    page.locator(".segment .time").first.focus()
    page.keyboard.press("ArrowLeft")
    slider = page.locator(".speech-map input")
    start = float(page.locator(".word").first.get_attribute("data-start") or "nan")
    expect(slider).to_have_js_property("value", str(start) if start % 1 else str(int(start)))
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert float(slider.input_value()) > start


def check_search(page: Page) -> None:
    """Find a word of the transcript, and a job in the list."""
    word = page.locator(".word").nth(1).inner_text()
    page.locator(".seek-bar input").fill(word)
    expect(page.locator(".seek-bar [role=status]")).to_contain_text(re.compile(r"1"))
    assert page.evaluate("CSS.highlights.get('found').size") >= 1
    page.locator("#job-search").fill("three")
    expect(row(page, "talk one.wav")).to_be_hidden()
    expect(row(page, "talk three.wav")).to_be_visible()
    page.locator("#job-search").fill("")
    expect(row(page, "talk one.wav")).to_be_visible()


def check_downloads(page: Page, web: httpx.Client) -> None:
    """Download every format; each is what the API returns."""
    job = page.url.rpartition("/")[2]
    for name in FORMATS:
        with page.expect_download() as download:
            page.locator(".actions .group").get_by_role("button", name=name).click()
        assert download.value.suggested_filename == f"talk one.{name}"
        expected = web.get(f"/v1/jobs/{job}/transcript", params={"format": name}).content
        assert download.value.path().read_bytes() == expected
