"""The crash points in the product's real processes: where each is, and what happens there.

The product has nothing of this compiled in. A process of a test arms one point before it runs the service's own `main`:
the seam, a named function of the product, is wrapped, and all others are left as they are. A seam that is renamed turns
`tests/chaos/processes/test_failpoints.py` red with the point's name.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.proof.faults import CrashPoint

POINT, COUNT, SIGNAL = "FAILPOINT", "FAILPOINT_COUNT", "FAILPOINT_SIGNAL"
"""Names in the environment: which point, at which time that it is reached, and the signal that the process gets."""

Condition = Callable[[tuple[Any, ...], Any], bool]
"""From the arguments and, after the call, its result."""


def _always(_arguments: tuple[Any, ...], _result: Any) -> bool:
    return True


@dataclass(frozen=True)
class Seam:
    """A function by module and qualified name. The point is reached before a call, or after it, if `when` holds."""

    module: str
    name: str
    after: bool = False
    when: Condition = _always


def _posts_a_reply(arguments: tuple[Any, ...], _result: Any) -> bool:
    return type(arguments[1]).__name__ == "Replied"


def _carries_a_plan(arguments: tuple[Any, ...], _result: Any) -> bool:
    return b"PATCH " in arguments[1].request.content


def _waits(arguments: tuple[Any, ...], _result: Any) -> bool:
    return any(channel.pacer.held_until > time.monotonic() for channel in arguments[0].parts.pool.channels)


def _records(arguments: tuple[Any, ...], _result: Any) -> bool:
    return any(message.error() is None for message in arguments[1])


def _publishes(arguments: tuple[Any, ...], result: Any) -> bool:
    return bool(arguments[2]) and type(result).__name__ == "Published"


def _publishes_plainly(arguments: tuple[Any, ...], _result: Any) -> bool:
    return bool(arguments[1])


def _in_conflict(arguments: tuple[Any, ...], _result: Any) -> bool:
    return type(arguments[1].found).__name__ == "Conflict"


def _recovers(arguments: tuple[Any, ...], _result: Any) -> bool:
    return bool(arguments[0]._recovering)


def _fetched(_arguments: tuple[Any, ...], result: Any) -> bool:
    return bool(result)


P = CrashPoint
_CONSUMER, _TRANSACTIONS = "writer.kafka.consumer", "writer.kafka.transactions"
SEAMS: dict[CrashPoint, Seam] = {
    P.POLLED: Seam(_CONSUMER, "ConsumerThread._split", when=_records),
    P.DECODED: Seam("writer.kafka.records", "decoded", after=True),
    P.BEFORE_SEND: Seam("writer.service", "Service._send"),
    P.SENT: Seam("writer.dataverse.client", "DataverseClient._whole", when=_carries_a_plan),
    P.REPLIED: Seam("writer.service", "Service.post", when=_posts_a_reply),
    P.MARKED: Seam("writer.core.engine", "Engine._replied", after=True),
    P.PUBLISHED: Seam(_TRANSACTIONS, "TransactionalProducer._produce", after=True),
    P.COMMITTING: Seam(_TRANSACTIONS, "_into", after=True),
    P.COMMITTED: Seam(_TRANSACTIONS, "TransactionalProducer.transact", after=True, when=_publishes),
    P.IN_REVOKE: Seam(_CONSUMER, "ConsumerThread._on_revoke"),
    P.IN_LOST: Seam(_CONSUMER, "ConsumerThread._on_lost"),
    P.IN_DRAIN: Seam("writer.service", "Service._wind_down"),
    P.IN_RETRY_AFTER: Seam("writer.service", "Service._measure", when=_waits),
    P.IN_TOKEN: Seam("writer.dataverse.identity", "EntraTokens._ask"),
    P.IN_PIECES: Seam("writer.core.attempt", "_written", when=_in_conflict),
    P.PLANNER_POLLED: Seam("planner.stream.reading", "LosslessConsumer._getmany", after=True, when=_fetched),
    P.DECIDED: Seam("planner.service", "PlannerService._acknowledged"),
    P.PUBLISHING: Seam("planner.kafka.publisher", "PlanPublisher._produce", after=True),
    P.ACKNOWLEDGED: Seam("planner.service", "PlannerService._pin"),
    P.BEFORE_COMMIT: Seam("planner.kafka.publisher", "PlanPublisher.send_progress", after=True),
    P.RECOVERING: Seam("planner.pins.bulk", "BulkReader._patiently", when=_recovers),
    P.FOLLOWING: Seam("planner.pins.bulk", "BulkReader._follow"),
    P.IN_REBALANCE: Seam("planner.stream.reading", "_Joining.on_partitions_assigned"),
}

WITHOUT_TRANSACTIONS: dict[CrashPoint, Seam] = {
    P.PUBLISHED: Seam("writer.kafka.producer", "PlainProducer._produce", after=True),
    P.COMMITTING: Seam("writer.kafka.producer", "PlainProducer._published", after=True, when=_publishes_plainly),
    P.COMMITTED: Seam("writer.kafka.producer", "PlainProducer.transact", after=True, when=_publishes),
}
"""What replaces those, in a writer whose broker has no transactions. It publishes first and commits then."""


def seam_of(point: CrashPoint) -> Seam:
    """In a process with this environment."""
    plain = os.environ.get("WRITER_TRANSACTIONS") == "false"
    return WITHOUT_TRANSACTIONS.get(point, SEAMS[point]) if plain else SEAMS[point]


def owner_of(point: CrashPoint) -> tuple[Any, str]:
    """What holds the function, and its name there. Raises LookupError, which names the point and the seam."""
    seam = seam_of(point)
    *path, name = seam.name.split(".")
    try:
        owner = functools.reduce(getattr, path, importlib.import_module(seam.module))
        inspect.getattr_static(owner, name)
    except (AttributeError, ImportError) as error:
        raise LookupError(f"{point}: {seam.module} has no {seam.name} any more; correct its seam here") from error
    return owner, name


def arm(point: CrashPoint, count: int, act: Callable[[], None]) -> None:
    """`act` is called when the point is reached for the `count`th time, and never again."""
    owner, name = owner_of(point)
    seam, lock, reached = seam_of(point), threading.Lock(), 0
    given = inspect.getattr_static(owner, name)
    function = given.__func__ if isinstance(given, staticmethod) else given

    def reach(arguments: tuple[Any, ...], result: Any) -> None:
        nonlocal reached
        if seam.when(arguments, result):
            with lock:
                reached += 1
                now = reached == count
            if now:
                act()

    wrapped = _wrapped(function, seam, reach)
    setattr(owner, name, staticmethod(wrapped) if isinstance(given, staticmethod) else wrapped)


def _wrapped(function: Any, seam: Seam, reach: Callable[[tuple[Any, ...], Any], None]) -> Any:
    async def awaited(*arguments: Any, **named: Any) -> Any:
        if not seam.after:
            reach(arguments, None)
        result = await function(*arguments, **named)
        if seam.after:
            reach(arguments, result)
        return result

    def called(*arguments: Any, **named: Any) -> Any:
        if not seam.after:
            reach(arguments, None)
        result = function(*arguments, **named)
        if seam.after:
            reach(arguments, result)
        return result

    return functools.wraps(function)(awaited if inspect.iscoroutinefunction(function) else called)


def arm_from_environment() -> None:
    """Nothing, if no point is named there."""
    if point := os.environ.pop(POINT, None):
        count, number = int(os.environ.pop(COUNT)), signal.Signals(int(os.environ.pop(SIGNAL)))
        arm(CrashPoint(point), count, lambda: os.kill(os.getpid(), number))
