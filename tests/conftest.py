"""Fixtures that every tier uses: an own Redis on a free port, the speech clips, honest skips."""

from __future__ import annotations
