"""How the files of the page are sent: without a key, with a strict policy, and so that browsers keep them."""

from __future__ import annotations

import re

import httpx
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]


def script_of(web: httpx.Client) -> str:
    found = re.search(r'type="module" src="([^"]+)"', web.get("/").text)
    assert found is not None
    return found[1]


def test_the_page_is_checked_for_a_new_version_every_time(web: httpx.Client) -> None:
    response = web.get("/")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert response.headers["cache-control"] == "no-cache"
    again = web.get("/", headers={"if-none-match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_policy_allows_nothing_but_what_this_server_sends(web: httpx.Client) -> None:
    for address in ("/", script_of(web)):
        policy = web.get(address).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert web.get(address).headers["x-content-type-options"] == "nosniff"


def test_files_of_this_version_are_kept_for_a_year_and_others_not_at_all(web: httpx.Client) -> None:
    address = script_of(web)
    response = web.get(address)
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    other = web.get(re.sub(r"/page/[^/]+/", "/page/000000000000/", address))
    assert (other.content, other.headers["cache-control"]) == (response.content, "no-store")


@pytest.mark.parametrize("path", ["nothing.js", "%2e%2e%2fassets.py", "..%2f..%2fapp.py", "index.html"])
def test_only_the_files_of_the_page_are_sent(web: httpx.Client, path: str) -> None:
    folder = script_of(web).rpartition("/")[0]
    assert web.get(f"{folder}/{path}").status_code == 404


def test_a_browser_finds_the_icon(web: httpx.Client) -> None:
    assert web.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
