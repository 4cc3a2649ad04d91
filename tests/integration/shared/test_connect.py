"""One client serves the threads of a whole node: more than there are connections, and nobody is turned away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from whisper_fleet.shared.connect import connect, connect_fail_fast

pytestmark = pytest.mark.integration

_THREADS = 200
_NOTHING = "a list that nobody fills"


@pytest.mark.parametrize("connected", [connect, connect_fail_fast])
def test_two_hundred_slots_that_ask_at_once_wait_for_a_connection(connected: object, redis_url: str) -> None:
    assert callable(connected)
    with connected(redis_url) as client, ThreadPoolExecutor(_THREADS) as slots:
        assert isinstance(client, Redis)
        asked = [slots.submit(client.blpop, [_NOTHING], 0.1) for _ in range(_THREADS)]
        assert [answer.result() for answer in asked] == [None] * _THREADS
        assert len(client.client_list()) < _THREADS
