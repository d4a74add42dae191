"""What the writer and its peers are given to do: queue items in the simulator, and their plans on a topic."""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from bench.crm import Crm
from planner.core.planning import Rejected, earlier_plan, plan
from planner.core.preceding import EarlierPlan, history
from schemas.codec import single_object
from schemas.records import Account, Disposition, PlannedWriteback, Source
from schemas.topics import Topics
from simulator import tenant
from tests.integration.writer.kit import CRM, POLICY, QUEUE_ITEMS, baseline_of
from tests.support.factories import NOON, make_outcome

_PLANS = single_object(PlannedWriteback)
Row = Mapping[str, Any]


def plans(crm: Crm, sessions: int, *, items: int) -> list[PlannedWriteback]:
    """Real plans of new queue items; each a phone call, an update and a task. Where there are more sessions than items,
    second sessions are among the first ones all along.
    """
    account = tenant.ACCOUNTS[0]
    before = {row["medx_callqueueitemid"] for row in crm.rows(QUEUE_ITEMS)}
    body = {
        "medx_name": "item",
        "medx_callstatus": 1,
        "medx_attemptcount": 0,
        "medx_AccountId@odata.bind": f"/accounts({account})",
    }
    crm.seed(QUEUE_ITEMS, [body] * items)
    rows = [row for row in crm.rows(QUEUE_ITEMS) if row["medx_callqueueitemid"] not in before]
    earlier: dict[str, list[EarlierPlan]] = {}
    made: list[PlannedWriteback] = []
    for number, row in enumerate(itertools.islice(_called(rows, sessions / items), sessions)):
        outcome = make_outcome(
            session_id=f"sess-{uuid.uuid4().hex}",
            queue_item_id=row["medx_callqueueitemid"],
            disposition=Disposition.CALL_BACK_LATER,
            callback_window="tomorrow morning",
            account=Account(id=account, name="Account 1"),
            started_at=NOON + timedelta(seconds=number),
            ended_at=NOON + timedelta(seconds=number + 30),
            baseline=baseline_of(row),
        )
        known = earlier.setdefault(outcome.queue_item_id, [])
        source = Source(topic="call-outcomes", partition=0, offset=number)
        earlier_plans = history(outcome, source, reversed(known), status_column=CRM.queue_item.status)
        one = plan(outcome, source, CRM, POLICY, earlier_plans)
        if isinstance(one, Rejected):
            raise TypeError(f"the planner rejects the benchmark's own outcome: {one}")
        known.append(earlier_plan(one))
        made.append(one)
    return made


def _called(rows: Sequence[Row], times: float) -> Iterator[Row]:
    """A few hundred rows, some of them again, then the next ones; each row so many times on average, less than two."""
    for start in range(0, len(rows), _TOGETHER):
        block = rows[start : start + _TOGETHER]
        yield from block
        yield from block[: math.ceil(len(block) * (times - 1))]


_TOGETHER = 800


@dataclass
class Queue:
    """The project's topics on the broker, with one partition each, under a prefix of their own."""

    bootstrap: str
    prefix: str = field(default_factory=lambda: f"bench-{uuid.uuid4().hex[:8]}-")

    def __post_init__(self) -> None:
        self.topics = Topics().prefixed(self.prefix)
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.create_topics([NewTopic(t.name, 1, 1) for t in self.topics.all()]).values():
            future.result(30)
        self._producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "compression.type": "zstd",
                "linger.ms": 20,
                "acks": "all",
                "log_level": 4,
            }
        )

    @property
    def planned(self) -> str:
        return self.topics.planned_writebacks.name

    def publish(self, made: Iterable[PlannedWriteback]) -> None:
        self._produce((one.session_id.encode(), _PLANS.encode(one)) for one in made)

    def fill(self, like: PlannedWriteback, count: int) -> None:
        """Plans of other sessions and queue items that nobody has ever seen: lag, not work. All of one length."""
        self._produce(_copies(like, count))

    def _produce(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in records:
            while True:
                try:
                    self._producer.produce(self.planned, value, key, 0)
                    break
                except BufferError:
                    self._producer.poll(0.1)
            self._producer.poll(0)
        if self._producer.flush(120):
            raise TimeoutError("the broker did not take the plans")


def _copies(like: PlannedWriteback, count: int) -> Iterator[tuple[bytes, bytes]]:
    raw, session, item = _PLANS.encode(like), like.session_id.encode(), like.queue_item_id.encode()
    for number in range(count):
        new = b"%032x" % number
        other = b"%08x-0000-4000-8000-%012x" % (number & 0xFFFFFFFF, number)
        key = b"sess-" + new
        yield key, raw.replace(session, key).replace(item, other)
