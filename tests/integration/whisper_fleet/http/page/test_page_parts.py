"""Parts of the page in a real browser: keys, lost connections, long lists, themes, a phone, and hostile text."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect
from redis import Redis

from tests.integration.whisper_fleet.http.conftest import ServedFleet
from tests.integration.whisper_fleet.http.page.conftest import CLIP, drop_files, shorten_jobs
from tests.support.browser import opened_page, serious_findings
from whisper_fleet.shared.display.text import printable, printable_text
from whisper_fleet.shared.http import keys as http_keys
from whisper_fleet.shared.http.api_keys import KeyLimits, KeyStore, Scope, new_key

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]


@pytest.fixture
def key(served: ServedFleet) -> Iterator[str]:
    """An API key; without it the server refuses everything while the test runs."""
    redis: Redis = served.fleet.redis
    made, token = new_key("acme", (Scope.SUBMIT, Scope.READ), KeyLimits(), time.time())
    KeyStore(redis).add(made)
    yield token
    redis.delete(http_keys.API_KEYS)


def module(page: Page, path: str) -> str:
    """Return the address of one of the page's modules."""
    script = page.locator("script[type=module]").get_attribute("src") or ""
    return script.replace("app.js", path)


def test_a_key_is_asked_for_and_is_in_no_address(browser: Browser, served: ServedFleet, key: str) -> None:
    with opened_page(browser, "about:blank") as page:
        addresses: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))
        shorten_jobs(page)
        page.goto(served.url)
        expect(page.locator("#key-dialog")).to_be_visible()
        assert serious_findings(page) == []
        page.locator("#key-input").fill("wf_wrong")
        page.locator("#key-save").click()
        expect(page.locator("#key-problem")).not_to_be_empty()
        page.locator("#key-input").fill(key)
        page.locator("#key-save").click()
        expect(page.locator("#key-dialog")).to_be_hidden()
        drop_files(page, {"secret.wav": CLIP.read_bytes()})
        page.locator(".job").filter(has_text="secret.wav").click()
        page.locator(".word").first.click()
        expect(page.locator(".word.spoken")).to_have_count(1)
        assert any("ticket=" in address for address in addresses)
        assert [address for address in addresses if key in address] == []
        assert key not in page.evaluate("JSON.stringify(localStorage)")
        assert page.evaluate("sessionStorage.length") == 1


def test_an_upload_goes_on_after_a_lost_connection(browser: Browser, served: ServedFleet, web: httpx.Client) -> None:
    lost: list[str] = []

    def lose(route: Route) -> None:
        if route.request.method == "PATCH" and not lost:
            lost.append(route.request.url)
            route.abort("connectionreset")
        else:
            route.continue_()

    with opened_page(browser, "about:blank") as page:
        shorten_jobs(page)
        page.route("**/v1/uploads/*", lose)
        page.goto(served.url)
        drop_files(page, {"lost.wav": CLIP.read_bytes()})
        expect(page.locator(".job").filter(has_text="lost.wav")).to_be_visible()
        assert lost
    (job,) = (job for job in web.get("/v1/jobs").json()["data"] if job["file_name"] == "lost.wav")
    assert job["labels"]["upload"] in lost[0]  # the same upload, not another
    assert web.get(f"/v1/jobs/{job['id']}/audio").content == CLIP.read_bytes()


def test_a_thousand_jobs_are_listed_and_searched(browser: Browser, served: ServedFleet) -> None:
    with opened_page(browser, "about:blank") as page:
        page.route("**/v1/jobs?*", lambda route: route.fulfill(json=_page_of_jobs(route.request.url)))
        page.goto(served.url)
        expect(page.locator(".job")).to_have_count(1000)
        page.locator("#job-search").fill("number 777")
        expect(page.locator("#job-list > li:not([hidden])")).to_have_count(1)
        page.locator("#job-search").fill("")
        page.locator("#job-state").select_option("failed")
        expect(page.locator("#job-count")).to_contain_text("100 of 1,000")


def _page_of_jobs(url: str) -> dict[str, Any]:
    query = httpx.URL(url).params
    first, limit = int(query.get("cursor", "0")), int(query["limit"])
    end = min(1000, first + limit)
    jobs = [_job(number) for number in range(first, end)]
    return {"object": "list", "data": jobs, "has_more": end < 1000, "next_cursor": str(end) if end < 1000 else None}


def _job(number: int) -> dict[str, Any]:
    state = "failed" if number % 10 == 0 else "done"
    progress = {"stage": state, "seconds_done": 60, "seconds_total": 60, "eta": None, "message": None}
    return {
        "id": f"job-{number}",
        "state": state,
        "created_at": 1_800_000_000 - number,
        "ended_at": 1_800_000_060 - number,
        "source": None,
        "file_name": f"recording number {number}.wav",
        "model": "base",
        "task": "transcribe",
        "language": "en",
        "priority": 5,
        "labels": {},
        "duration": 60,
        "progress": progress,
        "error": None,
        "warnings": [],
    }


def test_the_theme_and_the_language_are_remembered(browser: Browser, served: ServedFleet) -> None:
    with opened_page(browser, served.url, color_scheme="light", locale="en-US") as page:
        light = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        for _ in range(2):  # system, light, dark
            page.locator("#theme-button").click()
        page.locator("#language").select_option("zh")
        page.reload()
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != light
        expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
        expect(page.locator("#nav-jobs")).to_have_text("转写")


def test_the_page_fits_a_phone(browser: Browser, served: ServedFleet) -> None:
    with opened_page(browser, "about:blank", viewport={"width": 320, "height": 640}) as page:
        page.route("**/v1/jobs?*", lambda route: route.fulfill(json=_page_of_jobs(route.request.url)))
        for address in ("", "#/fleet", "#/jobs/job-1"):
            page.goto(f"{served.url}/{address}")
            page.locator(".job, .gpu, .detail .blank").first.wait_for(state="attached")
            assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_text_of_others_is_shown_as_the_rest_of_the_product_shows_it(browser: Browser, served: ServedFleet) -> None:
    texts = [chr(code) for code in [*range(0x3100), *range(0xD7F0, 0xD800), *range(0xE000, 0x11000), 0x1F600, 0xE0001]]
    with opened_page(browser, served.url) as page:
        shown = page.evaluate(
            "([path, texts]) => import(path).then((m) => texts.map((t) => [m.printable(t), m.printableText(t)]))",
            [module(page, "text/printable.js"), texts],
        )
    # The browser's Unicode may be newer than Python's: characters that are unassigned here are left out.
    expected = [[printable(text), printable_text(text)] for text in texts]
    different = [json.dumps(text) for text, a, b in zip(texts, shown, expected, strict=True) if a != b]
    assert different == []
