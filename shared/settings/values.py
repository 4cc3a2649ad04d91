"""The types of settings that need a check of their own."""

from __future__ import annotations

import re
import socket
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator


def host_name() -> str:
    """Return this host's name as one DNS label: dots would split the queue name `gpu.<host>.<index>`."""
    return socket.gethostname().split(".")[0].lower()


def is_loopback(address: str) -> bool:
    """Return whether a host name or an address is that of this machine alone."""
    try:
        return address == "localhost" or ip_address(address).is_loopback
    except ValueError:  # another name, or empty, which is every address
        return False


def _redis_url(url: str) -> str:
    """Accept what redis-py, Celery's broker and its result backend all understand."""
    if not re.fullmatch(r"rediss?://[^/?#\s]*(/\d*)?(\?\S+)?", url):
        form = "should be redis://[:password@]host[:port][/database]"
        raise ValueError(f"{form}, with %2F, %3F and %23 for / ? and # in a password")
    if url.startswith("rediss") and not re.search(r"[?&]ssl_cert_reqs=(required|optional|none)\b", url):
        raise ValueError("rediss:// needs ?ssl_cert_reqs=required")
    if urlsplit(url).port == 0:  # raises ValueError itself if it is not a port
        raise ValueError("Port out of range 1-65535")
    return url


#: A URL of Redis that every client library of the fleet understands.
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
