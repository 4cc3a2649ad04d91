"""The messages that a channel has received and not acknowledged, in memory and in Redis."""

from __future__ import annotations

import logging
from typing import Any

from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from redis.exceptions import ResponseError

from whisper_fleet.shared.broker import scripts
from whisper_fleet.shared.connect import Outage

_QoS: Any = kombu_redis.QoS  # kombu has no annotations

_ACKNOWLEDGING = Outage("acknowledging messages", logging.getLogger(__name__))


class FleetQoS(_QoS):  # type: ignore[misc]
    """What a channel has received and not acknowledged, in memory and in Redis."""

    channel: Any  # FleetChannel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late: set[str] = set()  # acknowledged here, but Redis refused to note it

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message; it is in `unacked` already, because it was taken from its queue into it."""
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; one that Redis refuses to forget is forgotten later."""
        self._forget(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Return a message to its queue, or drop it."""
        if requeue:
            self.restore_by_tag(delivery_tag, leftmost=True)
        else:
            self._forget(delivery_tag)
        virtual.QoS.ack(self, delivery_tag)

    def forget_if_not_kept(self, delivery_tag: str) -> None:
        """Forget a message that its consumer does not acknowledge, such as a reply to remote control."""
        if delivery_tag not in self._delivered:
            self._forget(delivery_tag)

    def acknowledge_late(self) -> None:
        """Forget what Redis refused to forget before."""
        for tag in list(self._late):
            self._late.discard(tag)
            self._forget(tag)
            if tag in self._late:
                return

    def _forget(self, tag: str) -> None:
        try:
            with _ACKNOWLEDGING.noted(), self.channel.conn_or_acquire() as client:
                scripts.run(client, "acknowledge", self.channel.keys_of_message, tag)
        except ResponseError:
            self._late.add(tag)

    def _remove_from_indices(self, delivery_tag: str, pipe: Any = None) -> Any:
        with self.pipe_or_acquire(pipe) as pipeline:
            pipeline.hdel(self.channel.owned_key, delivery_tag)
            return super()._remove_from_indices(delivery_tag, pipeline)
