"""Which URLs a setting such as WHISPER_FLEET_URL_PREFIXES allows. Pure.

The sources that fetch a file call `check_url` before they do.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from whisper_fleet.shared.errors import UrlNotAllowed
from whisper_fleet.shared.settings import Settings


def check_url(url: str, settings: Settings) -> None:
    """Raise UrlNotAllowed unless a prefix of the settings covers the URL of a file. Nothing is fetched."""
    if not is_below(url, settings.url_prefixes):
        raise UrlNotAllowed(url=url)


def is_below(url: str, prefixes: Iterable[str]) -> bool:
    """Return whether a prefix covers the URL: same scheme and host, and at or below its path."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets without an address in them
        return False
    if ".." in unquote(parts.path).split("/"):  # servers read %2e%2e as well
        return False
    for prefix in map(urlsplit, prefixes):
        is_same_place = (parts.scheme, parts.netloc) == (prefix.scheme, prefix.netloc)
        is_in_path = parts.path.startswith(prefix.path.rstrip("/") + "/") or parts.path == prefix.path
        if is_same_place and is_in_path:
            return True
    return False
