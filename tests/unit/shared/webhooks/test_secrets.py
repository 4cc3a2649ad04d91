"""The form of signing secrets, and which of them are valid during a rotation."""

from __future__ import annotations

import pytest

from whisper_fleet.shared.errors import BadOption
from whisper_fleet.shared.webhooks.secrets import SigningSecrets, check_secret, new_secret


def test_a_new_secret_is_valid_and_never_the_same() -> None:
    assert check_secret(new_secret()).startswith("whsec_")
    assert new_secret() != new_secret()


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", "A" * 32, "whsec_" + "A" * 200])
def test_what_receivers_could_not_use_is_refused(secret: str) -> None:
    with pytest.raises(BadOption, match="24 to 64 bytes"):
        check_secret(secret)


def test_the_old_secret_signs_until_the_rotation_is_over_and_a_second_rotation_ends_the_first() -> None:
    rotated = SigningSecrets(current="a").rotated("b", now=100.0, keep=50.0)
    assert rotated.valid_at(149.0) == ["b", "a"]
    assert rotated.valid_at(150.0) == ["b"]
    assert rotated.rotated("c", now=110.0, keep=50.0).valid_at(120.0) == ["c", "b"]
