"""One call of a webhook: its headers, its signature, and its POST.

The courier calls it in a thread. It knows the delivery, the secrets and the settings, and changes nothing. Whatever
goes wrong with the receiver is a Reply and never an exception.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from urllib.error import HTTPError

from standardwebhooks import Webhook

from whisper_fleet.scheduler.webhooks.attempts import Reply, retry_after_seconds
from whisper_fleet.shared.audio.sources.deadline import opened_within
from whisper_fleet.shared.audio.sources.prefixes import is_below
from whisper_fleet.shared.errors import CallbackNotAllowed
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.webhooks.deliveries import Delivery

#: Seconds for the whole call.
CALL_SECONDS = 15.0
_LONGEST_ERROR = 300  # characters


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: only the address itself was checked against the settings."""

    def redirect_request(self, *_: object) -> None:
        return None


def check_callback(url: str | None, settings: Settings) -> None:
    """Raise CallbackNotAllowed unless a prefix covers the URL: a fleet must not be a door into its network."""
    if url is not None and not is_below(url, settings.callback_prefixes):
        raise CallbackNotAllowed(url=url)


def headers_of(event_id: str, body: str, secrets: Sequence[str], now: float) -> dict[str, str]:
    """Return the headers of a call at `now`, with one signature per secret, as Standard Webhooks defines them."""
    moment = datetime.fromtimestamp(int(now), UTC)
    signatures = [Webhook(secret).sign(event_id, moment, body) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "whisper-fleet",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(signatures),
    }


def send(delivery: Delivery, secrets: Sequence[str], settings: Settings, now: float) -> Reply:
    """POST an event to its URL once. The URL is checked again: the settings may have changed since it was accepted."""
    try:
        check_callback(delivery.url, settings)
    except CallbackNotAllowed as error:
        return Reply(error=str(error))
    body = delivery.event.body()
    headers = headers_of(delivery.event.id, body, secrets, now)
    request = urllib.request.Request(delivery.url, body.encode(), headers)  # noqa: S310  # checked: an allowed prefix
    try:
        with opened_within(CALL_SECONDS, request, _NoRedirects()) as response:
            return Reply(status=response.status)
    except HTTPError as error:
        with error:
            after = retry_after_seconds(error.headers.get("Retry-After"))
            return Reply(status=error.code, error=f"the receiver answered {error.code}", retry_after=after)
    except (OSError, HTTPException, ValueError) as error:
        return Reply(error=(str(error) or type(error).__name__)[:_LONGEST_ERROR])
