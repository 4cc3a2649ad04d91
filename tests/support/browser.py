"""A real browser, headless, that reaches nobody but the server under test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

#: The names under which systems install it. A snap, such as Ubuntu's chromium-browser, comes last: it has its own /tmp.
_NAMES = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
]


def chromium_path() -> str:
    """Return the browser's path; skips the test where there is none, but fails it in CI."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs chromium: apt-get install chromium")
    return found


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run a browser while the context lasts. Close it before a test uses asyncio: it has a loop in this thread."""
    path = chromium_path()
    expect.set_options(timeout=30_000)  # milliseconds; a busy machine is no fault of the page
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened_page(browser: Browser, url: str, **options: object) -> Iterator[Page]:
    """Open a page in a profile of its own; fails at the end if a script failed or the page broke its own policy."""
    problems: list[str] = []
    context = browser.new_context(**options)  # type: ignore[arg-type]  # whatever the test chose
    try:
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if _is_policy(message.text) else None)
        page.goto(url)
        yield page
        assert problems == []
    finally:
        context.close()


def serious_findings(page: Page) -> list[str]:
    """Return what axe finds serious or critical on the page as it is now."""
    results: dict[str, Any] = Axe().run(page).response
    return [
        f"{finding['id']}: {node['html']} {node['failureSummary']}"
        for finding in results["violations"]
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"]
    ]


def _is_policy(text: str) -> bool:
    return "Content Security Policy" in text or "Content-Security-Policy" in text or "Trusted" in text
