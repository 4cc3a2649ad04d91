"""Wait for a condition: the only way in which tests wait."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], timeout: float = 60.0, *, interval: float = 0.01) -> None:
    """Return as soon as the condition holds; fail after `timeout` seconds. Look every `interval` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {timeout} s"
        time.sleep(interval)
