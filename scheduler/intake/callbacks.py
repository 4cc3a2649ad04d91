"""Reports the end of a job to the service that sent it, if it left an address for that."""

from __future__ import annotations

import json
import logging
import urllib.request
from http.client import HTTPException

from whisper_fleet.shared.audio.sources.deadline import opened_within
from whisper_fleet.shared.audio.sources.prefixes import is_below
from whisper_fleet.shared.errors import CallbackNotAllowed
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobState

_log = logging.getLogger(__name__)

_SECONDS = 5.0  # for the whole call


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: only the address itself was checked against the settings."""

    def redirect_request(self, *_: object) -> None:
        return None


def check_callback(url: str | None, settings: Settings) -> None:
    """Raise CallbackNotAllowed unless a prefix covers the URL: a fleet must not be a door into its network."""
    if url is not None and not is_below(url, settings.callback_prefixes):
        raise CallbackNotAllowed(url=url)


def call_back(url: str, job: str, state: JobState, settings: Settings) -> None:
    """POST `{"job": ..., "state": ...}` once; a service that is unreachable can still ask for the result.

    A job can fail before its callback URL was checked, so it is checked again here.
    """
    if not is_below(url, settings.callback_prefixes):
        return
    body = json.dumps({"job": job, "state": state}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310  # checked: http(s), allowed prefix
    try:
        with opened_within(_SECONDS, request, _NoRedirects()):
            pass
    except (OSError, HTTPException, ValueError) as error:
        _log.warning("job %s is %s, but the callback to %s failed: %s", job, state, url, error)
