"""A Celery transport over Redis that takes each message in one atomic step.

kombu's own transport pops a message with BRPOP and writes it to `unacked` afterwards. When Redis refuses that write,
or the process dies between the two, the message is gone. Here a script moves it in one step. To wait without taking
anything, the consumer blocks in `BLMOVE list list RIGHT RIGHT`, which moves the last element to where it already is.

The messages on the wire and in `unacked` are kombu's, so clients and nodes with kombu's transport work beside this one.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from itertools import cycle
from queue import Empty
from time import monotonic
from types import MappingProxyType
from typing import Any

from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from whisper_fleet.shared.broker import dead_letters, scripts
from whisper_fleet.shared.broker.patient_loop import PatientLoop
from whisper_fleet.shared.broker.receipt import (
    MESSAGE_LIMIT,
    Keywords,
    MessageProblem,
    check_message,
    drop_time_limits,
)
from whisper_fleet.shared.broker.received import FleetQoS
from whisper_fleet.shared.broker.watchdog import signs
from whisper_fleet.shared.connect import Outage, pauses

log = logging.getLogger(__name__)

# kombu has no annotations, and its stubs know nothing of the parts that a transport overrides.
_Channel: Any = kombu_redis.Channel
_Transport: Any = kombu_redis.Transport

#: Seconds between two signs of life of a consumer, and of silence after which its messages go back to their queues.
ALIVE_INTERVAL = 2.0
ALIVE_TIMEOUT = 15.0
#: How often a message may lose its consumer before it is set aside: it may be what kills them.
PATIENCE = 5
#: Seconds that a consumer of several queues blocks on one of them before it looks at the others.
_TURN = 0.1
#: Seconds until a refused command is tried again: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
#: Messages that one call returns to their queues at most.
_RETURNED_AT_ONCE = 100
_LOST_LIMITS = (ALIVE_TIMEOUT, PATIENCE, _RETURNED_AT_ONCE)

#: The end of the names of queues with replies to remote control, whose messages are not tasks.
_REPLY_QUEUE = ".reply.celery.pidbox"

_LOST_CONNECTION = (OSError, RedisConnectionError, RedisTimeoutError)


class FleetChannel(_Channel):  # type: ignore[misc]
    """A channel that takes messages by script, and sets aside those that Celery could not read."""

    QoS = FleetQoS

    #: The tasks that are accepted from each queue, by the queue's name up to its first dot; empty: any.
    accepted_tasks: Mapping[str, Mapping[str, Keywords]] = MappingProxyType({})
    #: Tasks that no client may have follow its own.
    internal_tasks: tuple[str, ...] = ()
    #: Queues, named likewise, whose consumers stop a task at its time limit; others would be killed at it.
    timed_queues: tuple[str, ...] = ()
    consumers_key = "fleet:consumers"
    owned_prefix = "fleet:consumer:"
    returns_key = "fleet:message_returns"
    looks_key = "fleet:consumer_looks"

    from_transport_options = (*_Channel.from_transport_options, "accepted_tasks", "internal_tasks", "timed_queues")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.consumer = uuid.uuid4().hex
        self.owned_key = f"{self.owned_prefix}{self.consumer}"
        self._turns: Any = None
        self._is_waiting = False  # the command under way is BLMOVE, not the script
        self._taking, self._waiting = Outage("taking messages", log), Outage("waiting for messages", log)
        self._pauses = pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
        self._paused_until = 0.0
        super().__init__(*args, **kwargs)

    @property
    def keys_of_message(self) -> list[str]:
        """The keys that scripts change for one received message."""
        return [self.unacked_key, self.unacked_index_key, self.owned_key, self.returns_key]

    def keep_alive(self) -> None:
        """Say that this consumer is alive, and return the messages of those that are not."""
        if self.active_queues:
            signs.note()
        elif not self.qos._delivered:
            return
        try:
            self.qos.acknowledge_late()
            with self.conn_or_acquire() as client:
                now, _ = client.time()
                client.zadd(self.consumers_key, {self.consumer: now})
                returned = scripts.run(client, "return_lost", self._keys_of_lost, *_LOST_LIMITS)
        except ResponseError as error:
            self._refused(error, self._taking)
            return
        if returned:
            log.warning("returned %d messages of consumers that died to their queues", returned)

    @property
    def _keys_of_lost(self) -> list[str]:
        letters = [dead_letters.KEY, dead_letters.COUNT_KEY]
        return [
            self.unacked_key,
            self.unacked_index_key,
            self.owned_prefix,
            self.consumers_key,
            *letters,
            self.returns_key,
            self.looks_key,
        ]

    def maybe_refresh_binding_expiry(self) -> None:
        """Renew kombu's own bindings, unless Redis refuses now: kombu would log that with a traceback every second."""
        try:
            super().maybe_refresh_binding_expiry()
        except ResponseError as error:
            self._refused(error, self._taking)

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Send the next command: the script that takes a message or, after it found none, a wait for one."""
        if monotonic() < self._paused_until or not self.active_queues:
            return
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        self.client.connection.send_command(*(self._wait_command() if self._is_waiting else self._take_command()))

    def _take_command(self) -> list[Any]:
        keys = self._take_keys(self._queue_cycle.consume(len(self.active_queues)))
        return ["EVALSHA", scripts.script("take")[1], len(keys), *keys, self.consumer, MESSAGE_LIMIT]

    def _take_keys(self, queues: list[str]) -> list[str]:
        lists = [self._q_for_pri(queue, priority) for priority in self.priority_steps for queue in queues]
        letters = [dead_letters.KEY, dead_letters.COUNT_KEY]
        return [self.unacked_key, self.unacked_index_key, self.owned_key, self.consumers_key, *letters, *lists]

    def _wait_command(self) -> list[Any]:
        if self._turns is None:
            self._turns = cycle(sorted(self.active_queues))
        queue = next(self._turns)
        seconds = self.brpop_timeout if len(self.active_queues) == 1 else _TURN
        return ["BLMOVE", queue, queue, "RIGHT", "RIGHT", seconds]

    def _reset_cycle(self) -> None:
        super()._reset_cycle()
        self._turns = None

    def _brpop_read(self, **options: Any) -> bool:
        """Read the reply to what `_brpop_start` sent, and deliver the message that came, if one did."""
        was_waiting, self._is_waiting = self._is_waiting, False
        try:
            reply = self.client.parse_response(
                self.client.connection, "BLMOVE" if was_waiting else "EVALSHA", **options
            )
        except NoScriptError:
            with self.conn_or_acquire() as client:
                client.script_load(scripts.script("take")[0])
            raise Empty from None
        except ResponseError as error:
            self._refused(error, self._waiting if was_waiting else self._taking)
            raise Empty from None
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        self._accepted(self._waiting if was_waiting else self._taking)
        if was_waiting:
            raise Empty
        if not reply:
            self._is_waiting = True
            raise Empty
        self._deliver_checked(*(_text(part) for part in reply))
        return True

    def _get(self, queue: str) -> Any:
        """Take one message from `queue` without waiting; raises Empty."""
        with self.conn_or_acquire() as client:
            reply = scripts.run(client, "take", self._take_keys([queue]), self.consumer, MESSAGE_LIMIT)
        if not reply:
            raise Empty
        return json.loads(_text(reply[1]))

    def _deliver_checked(self, source: str, message: str) -> None:
        """Hand a message to Celery; one that Celery cannot read, or stumbles over, is set aside."""
        queue = source.rsplit(self.sep, 1)[0]
        self._queue_cycle.rotate(queue)
        envelope = json.loads(message)
        try:
            if not queue.endswith(_REPLY_QUEUE):
                self._check(envelope, queue.partition(".")[0])
            self.connection._deliver(envelope, queue)
            self.qos.forget_if_not_kept(envelope["properties"]["delivery_tag"])
        except MessageProblem as problem:
            self._set_aside(envelope, source, message, str(problem))
        except KeyError as error:  # kombu takes it for a lost connection
            self._set_aside(envelope, source, message, f"Celery cannot read it (KeyError: {error})")
        except _LOST_CONNECTION:
            raise
        except Exception as error:
            log.exception("Celery cannot read a message from %s", queue)
            self._set_aside(envelope, source, message, f"Celery cannot read it ({type(error).__name__}: {error})")

    def _check(self, envelope: dict[str, Any], kind: str) -> None:
        check_message(envelope, self.accepted_tasks.get(kind, {}), self.internal_tasks)
        if kind not in self.timed_queues:
            drop_time_limits(envelope)

    def _receive_one(self, subscription: Any) -> Any:
        """Read one broadcast message, or the reply to a health check, which Redis may refuse."""
        try:
            return super()._receive_one(subscription)
        except ResponseError as error:
            self._refused(error, self._taking)
            raise Empty from None

    def _deliver_fanout_message(self, message: Any, exchange: str) -> bool:
        """Hand over a remote-control command or an event; one that Celery stumbles over is dropped."""
        try:
            return bool(super()._deliver_fanout_message(message, exchange))
        except _LOST_CONNECTION:
            raise
        except Exception as error:
            log.warning("dropped a broadcast message that cannot be read (%s: %s)", type(error).__name__, error)
            raise Empty from None

    def _set_aside(self, envelope: dict[str, Any], source: str, message: str, reason: str) -> None:
        tag = envelope["properties"]["delivery_tag"]
        letter = dead_letters.letter_json(source, reason, message)
        log.warning("a message from %s is set aside: %s", source, reason)
        keys = [*self.keys_of_message, dead_letters.KEY, dead_letters.COUNT_KEY]
        try:
            with self.conn_or_acquire() as client:
                scripts.run(client, "set_aside", keys, tag, letter)
        except ResponseError as error:
            # It stays in `unacked`, and is returned and set aside once Redis accepts writes.
            self._refused(error, self._taking)
            return
        virtual.QoS.ack(self.qos, tag)

    def _refused(self, error: ResponseError, outage: Outage) -> None:
        """Wait before the next command. A full Redis lets the script take messages, but refuses to wait for one."""
        outage.failed(error)
        self._paused_until = monotonic() + next(self._pauses)

    def _accepted(self, outage: Outage) -> None:
        if outage.is_on:
            self._pauses = pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
        outage.ended()


class FleetTransport(_Transport):  # type: ignore[misc]
    """kombu's Redis transport with channels that lose nothing: `broker_transport` in celeryconfig.py."""

    Channel = FleetChannel

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have the event loop keep this transport's consumers alive."""
        loop = PatientLoop(loop)
        super().register_with_event_loop(connection, loop)
        loop.call_repeatedly(ALIVE_INTERVAL, self._keep_alive)

    def _keep_alive(self) -> None:
        for channel in list(self.cycle._channels):
            try:
                channel.keep_alive()
            except _LOST_CONNECTION as error:
                log.debug("no sign of life: %s", error)


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
