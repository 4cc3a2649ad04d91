"""Tickets: the right to hear the audio of one job, for an hour, in an address. Owner of `fleet:ticket:*`.

A media element of a browser requests byte ranges by itself and sends no `Authorization` header, and an API key must
not be in an address, which lands in logs and histories. So the page asks for a ticket with its key, and puts that in
the address. Redis keeps the SHA-256 of a ticket. A ticket ends with its hour, its job or its API key; one that was
issued without any key is good on this machine only, as every request without a key is.
"""

from __future__ import annotations

import hashlib
import secrets

from redis.asyncio import Redis

from whisper_fleet.shared.http import keys as http_keys
from whisper_fleet.shared.http.api_keys import ApiKey
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.serialization import Wire

#: Seconds for which a ticket is valid.
TICKET_SECONDS = 3600


class Ticket(Wire):
    """What a ticket allows."""

    job: str
    key: str | None = None  # the id of the API key that it was issued for; None: the fleet had no keys


async def issue(redis: Redis, ticket: Ticket) -> str:
    """Store a ticket, and return the text that its holder sends."""
    token = secrets.token_urlsafe(24)
    await redis.set(http_keys.ticket(_digest(token)), ticket.to_json(), ex=TICKET_SECONDS)
    return token


async def find(redis: Redis, token: str) -> Ticket | None:
    """Return the valid ticket that a client sent; None if it has expired, or if its API key was revoked."""
    stored = await redis.get(http_keys.ticket(_digest(token)))
    ticket = None if stored is None else Ticket.from_json(text(stored))
    if ticket is None or ticket.key is None:
        return ticket
    key = await redis.hget(http_keys.API_KEYS, ticket.key)
    return None if key is None or ApiKey.from_json(text(key)).revoked is not None else ticket


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
