"""The Redis keys of API keys and of waiting clients, with type, expiry and writer; others: shared/ledger/keys.py."""

from __future__ import annotations

from whisper_fleet.shared.ledger.keys import PREFIX

#: hash id -> ApiKey as JSON; never expires. Writer: whisper_fleet.shared.http.api_keys, by `whisper-fleet keys`.
API_KEYS = f"{PREFIX}:api_keys"


def usage(day: str) -> str:
    """hash `<key>/<what>` -> what an API key used on a day, see shared/http/usage.py; expires after a year.

    Writer of this and the next three: whisper_fleet.http.access.quota.
    """
    return f"{PREFIX}:usage:{day}"


#: hash as above, since the fleet's beginning; never expires.
USAGE_TOTAL = f"{PREFIX}:usage_total"


def key_rate(key: str, minute: int) -> str:
    """string, the requests of a key in a minute; expires."""
    return f"{PREFIX}:key_rate:{key}:{minute}"


def key_jobs(key: str) -> str:
    """zset job -> when it was submitted with a key; an ended job is removed when it is counted as used."""
    return f"{PREFIX}:key_jobs:{key}"


#: zset job -> when the lease of the last client that waits for it ends. Writer: whisper_fleet.http.waiting.waiters.
WAITS = f"{PREFIX}:waits"


def wait(job_id: str) -> str:
    """hash waiter -> when its lease ends, and `join` -> the key below; expires. Writer: as above."""
    return f"{PREFIX}:wait:{job_id}"


def join(upload: str) -> str:
    """string, the job that an upload of the same bytes and options joins; expires. Writer: as above."""
    return f"{PREFIX}:join:{upload}"


def ticket(digest: str) -> str:
    """string, Ticket as JSON, by the SHA-256 of what its holder sends; expires. Writer: http.playback.tickets."""
    return f"{PREFIX}:ticket:{digest}"
