"""How long a refused client is asked to wait."""

from __future__ import annotations

import pytest

from whisper_fleet.http.estimate import retry_after


@pytest.mark.parametrize(
    ("wait", "retry"),
    [(0.0, 1.0), (36.0, 36.0), (None, 30.0), (1e7, 120.0)],  # clients give up a longer one
)
def test_a_client_waits_for_the_backlog(wait: float | None, retry: float) -> None:
    assert retry_after(wait) == retry
