"""Who sends a request."""

from __future__ import annotations

from dataclasses import dataclass, field

from whisper_fleet.shared.http.api_keys import KeyLimits, Scope


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sends a request."""

    tenant: str  # that every job of the caller gets
    scopes: frozenset[Scope]
    key: str | None = None  # the id of the API key; None: the fleet has no keys
    limits: KeyLimits = field(default_factory=KeyLimits)

    def has(self, scope: Scope) -> bool:
        """Return whether the caller may do this."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def may_see(self, tenant: str) -> bool:
        """Return whether the caller may see what belongs to a tenant; to others it must look like missing."""
        return tenant == self.tenant or self.key is None or Scope.ADMIN in self.scopes
