"""The client that the commands use."""

from __future__ import annotations

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from whisper_fleet.client import FleetClient
from whisper_fleet.shared.settings import Settings


def connect_client(settings: Settings) -> FleetClient:
    """Return a client of the fleet; raises Redis' error within seconds if Redis does not answer."""
    with connect_redis(settings) as redis:
        redis.ping()
    return FleetClient(settings)


def connect_redis(settings: Settings) -> Redis:
    """Return a client of the fleet's Redis whose commands raise Redis' error within seconds if it does not answer."""
    return Redis.from_url(settings.redis_url, retry=Retry(ConstantBackoff(0.5), 6), socket_connect_timeout=5.0)
