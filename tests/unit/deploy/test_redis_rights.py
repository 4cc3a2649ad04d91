"""The rights of the user `fleet` cover what its scripts call; tests/integration/test_redis_users.py covers the rest."""

from __future__ import annotations

import re
from pathlib import Path

from whisper_fleet.deploy.redis.users import FLEET

SHARED = Path(__file__).parents[3] / "shared"


def test_the_fleet_may_run_every_command_of_its_scripts() -> None:
    scripts = [file.read_text() for file in SHARED.rglob("*.lua")]
    called = {name.lower() for script in scripts for name in re.findall(r"redis\.call\('(\w+)'", script)}
    assert len(called) > 20
    assert called - {command.partition("|")[0] for command in FLEET.commands} == set()
