"""Whose requests are served without any key: those of this machine's own programs."""

from __future__ import annotations

import pytest
from fastapi import Request

from whisper_fleet.http.access.caller import Caller
from whisper_fleet.http.access.callers import is_local
from whisper_fleet.shared.http.api_keys import KeyLimits, Scope, new_key, parts_of


def request(peer: str, **headers: str) -> Request:
    given = {"host": "localhost:8000", **headers}
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()]
    return Request({"type": "http", "client": (peer, 1), "headers": raw})


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("127.0.0.1", {}),
        ("127.8.8.8", {}),
        ("::1", {"host": "[::1]:8000"}),
        ("127.0.0.1", {"host": "127.0.0.1"}),
        ("127.0.0.1", {"origin": "http://localhost:3000"}),
    ],
)
def test_programs_of_this_machine_are_served(peer: str, headers: dict[str, str]) -> None:
    assert is_local(request(peer, **headers))


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("10.0.0.5", {}),
        ("testclient", {}),
        ("127.0.0.1", {"x_forwarded_for": "127.0.0.1"}),  # a proxy, whoever is behind it
        ("127.0.0.1", {"forwarded": "for=127.0.0.1"}),
        ("127.0.0.1", {"host": "rebound.example"}),
        ("127.0.0.1", {"host": ""}),
        ("127.0.0.1", {"host": "[::1"}),
        ("127.0.0.1", {"origin": "https://evil.example"}),
        ("127.0.0.1", {"origin": "null"}),
    ],
)
def test_others_are_not(peer: str, headers: dict[str, str]) -> None:
    assert not is_local(request(peer, **headers))


def test_admin_may_do_and_see_everything_and_others_their_own() -> None:
    reader = Caller(tenant="acme", scopes=frozenset({Scope.READ}), key="k")
    admin = Caller(tenant="acme", scopes=frozenset({Scope.ADMIN}), key="k")
    assert [reader.has(scope) for scope in Scope] == [False, True, False]
    assert all(admin.has(scope) for scope in Scope)
    assert (reader.may_see("acme"), reader.may_see("other"), admin.may_see("other")) == (True, False, True)


def test_a_key_is_found_by_its_id_and_known_by_its_secret() -> None:
    key, token = new_key("acme", (Scope.READ,), KeyLimits(), 1.0)
    name, secret = parts_of(token) or ("", "")
    assert (name, key.matches(secret), key.matches(secret[:-1] + "!")) == (key.id, True, False)
    assert secret not in key.to_json()
    assert not key.model_copy(update={"revoked": 2.0}).matches(secret)
    assert parts_of(token.upper()) is None
    assert parts_of(token + "0") is None
