"""How Faust is kept from losing outcomes between the broker and the agent.

P5 An outcome is committed past only after it was planned or rejected.

When partitions come and go while there is a backlog, Faust by itself loses outcomes, in four ways:

1. After a recovery it lets records flow, and that clears the agent's queue with what came in meanwhile
   (`NonDroppingFlow`: the queue is cleared when partitions go, and only then).
2. It drops records that it has fetched: of a batch that it was about to hand over, and by a reading position that is
   left over from before, or that a seek has changed under it.
3. It acknowledges what it skips, and at a stop the batch that the agent has in hand, before that is planned.
4. A jump in the offsets that it reads it takes for a gap in the topic, and acknowledges what it jumped over.

So this reader hands over every record of an assignment once and in order (`Reading`): what was fetched but not handed
over is fetched again, and only what the broker itself left out between two records is acknowledged as a gap. Such gaps
are real: markers of transactions, batches that were rolled back, records that went by retention. Without acknowledging
them the commit would never move on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

from aiokafka.errors import KafkaError, UnknownError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, ConsumerRebalanceListener
from faust.types import TP
from mode import Service
from mode.utils.queues import FlowControlEvent

from planner.core.fence import Fence, Membership
from planner.core.reading import Reading

Jumped = Callable[[int, int, int], None]
"""Called with a partition, the offset that it was read up to, and the next one that there was."""

Decided = Callable[[Collection[int]], Awaitable[None]]
"""Called with partitions; returns once no open transaction may change their committed offsets any more."""

_STOPS_WITHIN_S = 5.0
_LOOK_EVERY_S = 1.0
_FAILED_IN_ITS_OWN_CODE = str(KafkaError(repr(UnknownError())))
"""How aiokafka says that of a broker. It does so for a moment without space on its disk."""


class NonDroppingFlow(FlowControlEvent):
    """Lets records flow again and keeps those that are waiting."""

    def resume(self) -> None:
        self._suspend.clear()
        self._resume.set()


class _Joining(ConsumerRebalanceListener):
    """Hands the new membership to the fence before anything of it is read."""

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        thread = cast("_LosslessThread", self._thread)
        cast("LosslessConsumer", thread.consumer).fence.joined(thread.present_membership())
        await super().on_partitions_assigned(assigned)


class LosslessConsumer(Consumer):
    """Faust's consumer, except for records of the topic that is acknowledged: those go by `Reading`."""

    logger = logging.getLogger("faust.transport")
    RebalanceListener = _Joining
    fence: Fence
    in_hand: asyncio.Lock
    jumped: Jumped
    decided: Decided
    client: Mapping[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reading: Reading[TP] = Reading()
        self._read_offset = _GuardedOffsets(self._is_changelog_tp)
        self._hand_over: Any = self.callback
        self.callback = self._hand_over_in_order

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _LosslessThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """To where the planner before this one ended, once the broker knows that."""
        if partitions := [tp.partition for tp in self.assignment() if not self._is_changelog_tp(tp)]:
            await self.decided(partitions)
        await super().perform_seek()

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109  the base class's
        if left_out := self.reading.left_out():
            thread = cast("_LosslessThread", self._thread)
            await thread.call_thread(thread.read_again, self.reading.assignment, left_out)
        records = await super()._getmany(active_partitions, timeout)
        if isinstance(records, _Fetched):
            self.reading.fetched(
                records.assignment,
                {
                    tp: [record.offset for record in of_partition]
                    for tp, of_partition in records.items()
                    if not self._is_changelog_tp(tp)
                },
            )
            for tp, expected, offset in self.reading.jumps(self._committed_offset):
                self.jumped(tp.partition, expected, offset)
        return records

    async def _hand_over_in_order(self, message: Any) -> None:
        if self._is_changelog_tp(message.tp):
            await self._hand_over(message)
            return
        thread = cast("_LosslessThread", self._thread)
        same = thread.present_assignment() is self.reading.assignment
        if same and self.reading.is_next(message.tp, message.offset):
            message.acked = True  # or so it seems to Faust, until `app.acknowledge`
            await self._hand_over(message)
            if gap := self.reading.handed_over(message.tp, message.offset):
                await self._add_gap(message.tp, *gap)

    def _new_offset(self, tp: TP) -> int | None:
        """Faust would begin anywhere if nothing was committed yet, and nowhere if what was committed is gone."""
        first, acknowledged = self.reading.first.get(tp), self._acked[tp]
        committed = self._committed_offset[tp]
        if first is not None and not committed and acknowledged and min(acknowledged) > first:
            return None
        if first is not None and committed and committed < first:
            self._committed_offset[tp] = first
        return super()._new_offset(tp)

    async def force_commit(self, *args: Any, **kwargs: Any) -> bool:
        """Between two batches. What Faust commits is older than what the transaction of a batch in hand has committed:
        it would set the group back, and whatever that batch has rejected would be rejected again after a kill.
        """
        async with self.in_hand:
            return not self.fence.waits_for_rebalance and await super().force_commit(*args, **kwargs)

    async def maybe_wait_for_commit_to_finish(self) -> bool:
        """Faust's begins a commit of its own when it is asked to wait no longer."""
        if (commit := self._commit_fut) is None:
            return False
        await asyncio.wait([commit])
        return True

    def ack(self, message: Any) -> bool:
        """Faust's stream also acknowledges what it skips for it came with an earlier assignment."""
        return bool(message.tracked) and super().ack(message)

    async def commit_and_end_transactions(self) -> None:
        """At a stop. A broker that is away is not waited for: what is not committed is delivered again, and known."""
        with suppress(TimeoutError):
            await asyncio.wait_for(super().commit_and_end_transactions(), _STOPS_WITHIN_S)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Says nothing. Faust would watch the planned topic as if an agent read it, and take every partition that is
        idle for one that hangs: an error per partition every 2.5 s from the fifth minute on. A real stop
        shows in the planner's own metrics and `planner.health`."""

    def verify_recovery_event_path(self, now: float, tp: TP) -> None:
        """Says nothing either, for the same reason."""


class _GuardedOffsets(dict[TP, int | None]):
    """Hides reading positions from Faust, which would drop records by them and invent gaps."""

    def __init__(self, may_have: Any) -> None:
        super().__init__()
        self._may_have = may_have

    def __getitem__(self, tp: TP) -> int | None:
        return self.get(tp) if self._may_have(tp) else None


class _Fetched(dict[TP, Any]):
    """Fetched records by partition, and the assignment under which they were fetched."""

    assignment: object


class _LosslessThread(AIOKafkaConsumerThread):
    """Where the client lives. No new assignment comes between two statements here."""

    logger = logging.getLogger("faust.transport")

    async def on_thread_stop(self) -> None:
        """Leaves the group and closes the client, for as long as that takes with a broker that is there. Without one
        aiokafka would try for a minute, and end the thread with a traceback past the log: what it cancels itself it
        does not expect."""
        with suppress(Exception, asyncio.CancelledError):
            await asyncio.wait_for(super().on_thread_stop(), _STOPS_WITHIN_S)

    @Service.task
    async def _hear_of_errors(self) -> None:
        """aiokafka's part in the group pauses after an error, until its reader has heard of that. Faust is not
        one: the planner would look ready, and plan nothing any more. A join that failed and may pass is tried again;
        any other error ends the planner.
        """
        while not self.should_stop:
            coordinator: Any = cast("Any", self._ensure_consumer())._coordinator  # noqa: SLF001  its readers ask it
            try:
                coordinator.check_errors()
            except KafkaError as error:
                tasks = coordinator._heartbeat_task, coordinator._commit_refresh_task  # noqa: SLF001  these end with it
                if str(error) != _FAILED_IN_ITS_OWN_CODE or any(task and task.done() for task in tasks):
                    raise
            await self.sleep(_LOOK_EVERY_S)

    def present_assignment(self) -> object:
        subscription: Any = self._ensure_consumer()._subscription.subscription  # noqa: SLF001  not to be had otherwise
        return subscription and subscription.assignment

    def present_membership(self) -> Membership:
        coordinator: Any = self._ensure_consumer()._coordinator  # noqa: SLF001  where Faust has its generation from too
        return Membership(
            group_id=coordinator.group_id,
            generation=coordinator.generation,
            member_id=coordinator.member_id,
            instance_id=self.app.conf.consumer_group_instance_id,
        )

    def _create_worker_consumer(self, transport: Any) -> Any:
        """With our own settings where Faust would choose its own. Above all: records of open and rolled back
        transactions are neither outcomes nor plans. All other settings come through the app's."""
        consumer, client = super()._create_worker_consumer(transport), transport.Consumer.client
        consumer._isolation_level = client["isolation_level"]  # noqa: SLF001  read once, when the client starts
        consumer._fetch_max_wait_ms = client["fetch_max_wait_ms"]  # noqa: SLF001  the same
        consumer._client_rack = client["client_rack"]  # noqa: SLF001  the same
        return consumer

    async def _fetch_records(self, *args: Any, **kwargs: Any) -> Any:
        fetched = _Fetched(await super()._fetch_records(*args, **kwargs))
        fetched.assignment = self.present_assignment()
        return fetched

    async def read_again(self, assignment: object, places: Mapping[TP, int]) -> None:
        if assignment is self.present_assignment():
            for tp, offset in places.items():
                self._ensure_consumer().seek(tp, offset)


def install(
    app: Any, fence: Fence, in_hand: asyncio.Lock, jumped: Jumped, decided: Decided, client: Mapping[str, Any]
) -> None:
    """To be called before anything of the app is used. `in_hand` is held as long as the agent has a batch; `client`:
    the settings of aiokafka's consumer.
    """
    UnknownError.retriable = True  # else Faust would end the planner over a commit
    app.flow_control = NonDroppingFlow()
    parts = {
        "fence": fence, "in_hand": in_hand, "jumped": staticmethod(jumped), "decided": staticmethod(decided),
        "client": client,
    }  # fmt: skip
    cast("Any", app.transport).Consumer = type("LosslessConsumer", (LosslessConsumer,), parts)
