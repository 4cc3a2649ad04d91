"""A Redis that lets in only the users of the fleet, over TLS, and an administrator without TLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from redis import Redis

from tests.support.redis_server import RedisServer
from tests.support.tls_proxy import make_certificate, tls_proxy
from whisper_fleet.cli.machine.redis_acl import has_rights_to_read
from whisper_fleet.deploy.redis.users import USERS, RedisUser


@dataclass(frozen=True)
class GuardedRedis:
    """Its administrator, and the address for each user."""

    admin: Redis
    urls: dict[str, str]
    has_read_rights: bool  # whether this Redis knows rights only to read

    def command(self, *words: str) -> Any:
        """Send a command as the administrator."""
        return cast("Any", self.admin).execute_command(*words)

    def denials(self) -> list[dict[str, Any]]:
        """Return what Redis denied, except the naming of connections, which redis-py tries and does without."""
        denied: list[dict[str, Any]] = cast("Any", self.admin.acl_log())
        return [entry for entry in denied if entry["object"] != "client"]


def password_of(user: RedisUser) -> str:
    """Return the first password of a user; it has a character that URLs must escape."""
    return f"of {user.name}"


@contextmanager
def guarded_redis(server: RedisServer, directory: Path) -> Iterator[GuardedRedis]:
    """Add the users of the fleet to a server that runs, and put TLS before it."""
    certificate, key = make_certificate(directory)
    with Redis.from_url(server.url) as admin, tls_proxy(server.port, certificate, key) as port:
        version: dict[str, Any] = cast("Any", admin.info("server"))
        has_read_rights = has_rights_to_read(version["redis_version"])
        query = f"ssl_cert_reqs=required&ssl_ca_certs={certificate}"
        login = {user.name: f"{user.name}:{password_of(user).replace(' ', '%20')}" for user in USERS}
        urls = {name: f"rediss://{text}@127.0.0.1:{port}/0?{query}" for name, text in login.items()}
        guarded = GuardedRedis(admin, urls, has_read_rights)
        for user in USERS:
            line = user.line(password_of(user), queues=["celery"], has_read_rights=has_read_rights)
            guarded.command("ACL", "SETUSER", *line.split()[1:])
        yield guarded
