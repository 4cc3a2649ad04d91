"""The secrets that webhooks are signed with: one for the fleet, and others for tenants that were given their own.

The courier reads them for every delivery; the command line and the HTTP API show and rotate them. They are kept in
Redis as they are, because both sides of an HMAC need the secret itself. An error of Redis passes through.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import cast

from redis import Redis

from whisper_fleet.shared.errors import BadOption
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.serialization import Wire

_PREFIX = "whsec_"
#: Bytes of a secret: what the specification of Standard Webhooks recommends, and the limits that it sets.
_BYTES, _LEAST, _MOST = 32, 24, 64

#: The owner of the secret for every tenant that has none of its own.
FLEET = ""


class SigningSecrets(Wire):
    """The secrets of one owner."""

    current: str
    previous: str | None = None  # signs, too, until `previous_until`
    previous_until: float = 0.0  # Unix seconds

    def valid_at(self, now: float) -> list[str]:
        """Return the secrets to sign with, the newest first."""
        is_in_rotation = self.previous is not None and now < self.previous_until
        return [self.current, *([self.previous] if self.previous is not None and is_in_rotation else [])]

    def rotated(self, secret: str, now: float, keep: float) -> SigningSecrets:
        """Return the secrets with a new current one; the old one signs for `keep` more seconds."""
        return SigningSecrets(current=secret, previous=self.current, previous_until=now + keep)


def new_secret() -> str:
    """Return a new random secret."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def check_secret(secret: str) -> str:
    """Return the secret if receivers can use it, else raise BadOption."""
    reason = f"it is no {_PREFIX} followed by {_LEAST} to {_MOST} bytes in base64"
    try:
        length = len(base64.b64decode(secret.removeprefix(_PREFIX), validate=True))
    except (binascii.Error, ValueError):
        raise BadOption(name="secret", reason=reason) from None
    if not secret.startswith(_PREFIX) or not _LEAST <= length <= _MOST:
        raise BadOption(name="secret", reason=reason)
    return secret


class SecretStore:
    """The secrets of the fleet and its tenants in Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def own(self, owner: str) -> SigningSecrets | None:
        """Return the secrets that belong to this owner alone."""
        stored = cast("bytes | None", self._redis.hget(keys.WEBHOOK_SECRETS, owner))
        return None if stored is None else SigningSecrets.from_json(stored)

    def of(self, owner: str) -> SigningSecrets:
        """Return the secrets for an owner's webhooks: its own, or else the fleet's, made when first needed."""
        found = self.own(owner) or self.own(FLEET)
        if found is None:
            made = SigningSecrets(current=new_secret())
            self._redis.hsetnx(keys.WEBHOOK_SECRETS, FLEET, made.to_json())
            found = self.own(FLEET) or made  # or another process was faster
        return found

    def replace(self, owner: str, secret: str, now: float, keep: float) -> SigningSecrets:
        """Make a secret the current one of an owner; what it was signed with before is valid for `keep` seconds.

        The first secret of a tenant follows the fleet's in the same way.
        """
        changed = self.of(owner).rotated(check_secret(secret), now, keep)
        self._redis.hset(keys.WEBHOOK_SECRETS, owner, changed.to_json())
        return changed
