"""Fixtures that every tier uses: an own Redis on a free port, the speech clips, skip on a laptop and fail in CI."""

from __future__ import annotations
