"""The body of a request, piece by piece, from clients that are large, slow, or that never end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import Request
from starlette.requests import ClientDisconnect

from whisper_fleet.http.errors import ApiError

#: Seconds without a byte after which a body is given up.
SILENCE_SECONDS = 60.0
#: Seconds until the average rate counts, and the slowest rate in bytes per second.
PATIENCE_SECONDS, SLOWEST = 60.0, 256.0


async def body_of(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Yield the body in pieces as they come; raises ApiError 413 above `limit` bytes, 408 for a client that stalls.

    A body that declares its length is refused before the first byte, and one that is compressed with 415: what it
    would become is not known before it fills the disk.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise ApiError(415, f"the body is encoded as {coding[:100]}: send it as it is, without Content-Encoding")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise ApiError(413, f"the body has {int(declared):,} bytes; at most {limit:,} are accepted")
    pieces = request.stream()
    received, began = 0, time.monotonic()
    while True:
        try:
            piece = await asyncio.wait_for(anext(pieces), SILENCE_SECONDS)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise ApiError(408, f"no byte came for {SILENCE_SECONDS:g} s") from None
        except ClientDisconnect:
            raise ApiError(400, "the client disconnected before the end of the body") from None
        received += len(piece)
        if received > limit:
            raise ApiError(413, f"the body has more than {limit:,} bytes, the most that is accepted")
        seconds = time.monotonic() - began
        if seconds > PATIENCE_SECONDS and received < seconds * SLOWEST:
            raise ApiError(408, f"the body comes with less than {SLOWEST:g} bytes per second")
        yield piece
