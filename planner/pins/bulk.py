"""Reads the planned topic into the pins, in a thread of its own: several times faster than Faust reads it, with a
bounded buffer.

It reads to the end of everything that was written, open transactions included: what one of them holds may be a plan
that another planner is about to commit, so `runtime.log_reader` waits until the transaction ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

from confluent_kafka import Message

from planner.pins.recovery import PinRecovery
from planner.waiting import Waits
from runtime.connection import BrokerSettings
from runtime.errors import RegistryUnavailable
from runtime.librdkafka_log import client_log
from runtime.log_reader import ask_ends, read_to_end
from runtime.threads import in_thread_until_done
from schemas.codec import UnknownSchema

_BETWEEN_BATCHES = 100
_ASK_AGAIN_S = 1.0


class PlanMessage(NamedTuple):
    key: bytes | None
    value: bytes | None
    partition: int
    offset: int
    headers: Any = None


Apply = Callable[[Sequence[PlanMessage]], None]


class BulkReader:
    """Reads partitions of the planned topic to their present end: once in a recovery, then again as others append.

    It joins no group. The client needs the name of one all the same: it gets the planner's own, which
    the planner has the right to read.
    """

    def __init__(self, broker: BrokerSettings, recovery: PinRecovery, waits: Waits, *, group_id: str) -> None:
        self.config = broker.consumer_config() | {"group.id": group_id, "log_level": 2}
        self._topic = broker.topics.planned_writebacks.name
        self._recovery = recovery
        self._waits = waits
        self._left = 0
        self._recovering = False
        self._read_to: dict[int, int] = {}
        self._following: asyncio.Task[None] | None = None
        self.stopped = threading.Event()
        """Set at a stop of the process, which need not wait for a broker that is away."""

    @property
    def remaining(self) -> int:
        """Records that a recovery still has to read."""
        return self._left if self._recovering else 0

    async def follow(self) -> None:
        """Read what others have appended since: tombstones, so that memory does not only grow (B3), and requeued plans.
        Slowly: the records are applied between batches, on the loop that plans."""
        self._following = asyncio.ensure_future(self._follow())
        with contextlib.suppress(asyncio.CancelledError):
            await self._following

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()

        async def apply(messages: Sequence[PlanMessage]) -> None:
            for start in range(0, len(messages), _BETWEEN_BATCHES):
                self._recovery.apply(messages[start : start + _BETWEEN_BATCHES])
                await asyncio.sleep(0)

        def on_the_loop(messages: Sequence[PlanMessage]) -> None:
            asyncio.run_coroutine_threadsafe(apply(messages), loop).result()

        self._read_to |= await self._in_a_thread(self._read_to, on_the_loop)

    async def read(self, after: Mapping[int, int]) -> dict[int, int]:
        """Partition to the last offset before its end. `after`: the last offset that is known already, -1 for none."""
        if self._following and self._following.cancel():
            await asyncio.wait([self._following])
        self._read_to, self._recovering = {}, True
        try:
            self._read_to = await self._in_a_thread(after, self._recovery.apply)
        finally:
            self._recovering = False
        return self._read_to

    async def _in_a_thread(self, after: Mapping[int, int], apply: Apply) -> dict[int, int]:
        stop = threading.Event()
        return await in_thread_until_done(partial(self._read, dict(after), apply, stop), give_up=stop.set)

    def _read(self, after: dict[int, int], apply: Apply, stop: threading.Event) -> dict[int, int]:
        log = client_log("planner")

        def wanted(_partition: int) -> bool:
            return not (stop.is_set() or self.stopped.is_set())

        def apply_records(messages: Sequence[Message]) -> None:
            if messages:
                self._patiently(apply, [_plan_message(each) for each in messages], stop)

        ends = ask_ends(self.config, self._topic, after, log=log, wanted=wanted)
        starts = {partition: offset + 1 for partition, offset in after.items()}
        self._left = sum(max(0, end - starts[partition]) for partition, end in ends.items())
        try:
            read_to_end(
                self.config,
                self._topic,
                after,
                log=log,
                on_records=apply_records,
                at_end=lambda _: None,
                wanted=wanted,
                starts=starts,
                ends=ends,
            )
        finally:
            _give_memory_back()
        return {partition: end - 1 for partition, end in ends.items()}

    def _patiently(self, apply: Apply, messages: Sequence[PlanMessage], stop: threading.Event) -> None:
        """Waits until the schemas of all plans are known: to pass over a plan could plan its session again (P1)."""
        with self._waits.until_over("registry", "schema"):
            while True:
                try:
                    apply(messages)
                except RegistryUnavailable as error:
                    self._waits.begin("registry", str(error))
                except UnknownSchema as error:
                    self._waits.begin("schema", _unreadable(messages, error))
                else:
                    break
                if stop.wait(_ASK_AGAIN_S) or self.stopped.is_set():
                    return
        self._left = max(0, self._left - len(messages))


def _plan_message(message: Message) -> PlanMessage:
    partition, offset = cast("int", message.partition()), cast("int", message.offset())
    return PlanMessage(message.key(), message.value(), partition, offset, message.headers())


def _unreadable(messages: Sequence[PlanMessage], error: UnknownSchema) -> str:
    first, last = messages[0], messages[-1]
    return (
        f"a plan between offsets {first.offset} and {last.offset} of the planned topic (partitions "
        f"{sorted({each.partition for each in messages})}) {error}; run a planner that is at least as new as the "
        "newest one that has run, with the schema registry that it used"
    )


def _give_memory_back() -> None:
    """What glibc keeps of the buffers of a recovery that is over; elsewhere nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
