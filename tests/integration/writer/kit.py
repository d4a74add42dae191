"""A writer with a simulated CRM and an embedded broker: queue items, plans as the planner makes them, and results."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from ops.demo.waiting import HANGS_AFTER_S, wait_until
from planner import mapping
from planner.core.planning import Policy, Rejected, earlier_plan, plan
from planner.core.preceding import EarlierPlan, history
from planner.core.resolution import ResolvedMapping
from runtime.log_reader import read_to_end
from schemas.codec import single_object
from schemas.placement import partition_of
from schemas.records import (
    Account,
    Baseline,
    CallOutcome,
    Disposition,
    HumanReviewReason,
    PlannedWriteback,
    QueueStatus,
    Source,
    WritebackResult,
)
from schemas.topics import Topics
from simulator import tenant
from simulator.testing import RunningSimulator
from tests.support.factories import NOON, make_outcome
from writer.core.ledger import decode_settled

QUEUE_ITEMS = "medx_callqueueitems"
CRM = mapping.load(Path(__file__).parents[3] / "ops" / "demo" / "mapping.json")
POLICY = Policy(planned_by="test")
STATUSES = list(QueueStatus)
DISPOSITIONS = list(Disposition)
_QUIET = {"log_level": 0}  # a broker that is shut down on purpose is not worth a line a second
_PLANS = single_object(PlannedWriteback)
_RESULTS = single_object(WritebackResult)


def seed_item(simulator: RunningSimulator, **columns: Any) -> str:
    """A queue item that a call system has taken; returns its id."""
    account = tenant.ACCOUNTS[0]
    row = {
        "medx_name": "item",
        "medx_callstatus": 1,
        "medx_attemptcount": 0,
        "medx_AccountId@odata.bind": f"/accounts({account})",
    }
    [item] = simulator.seed(QUEUE_ITEMS, row | columns)
    return item


def baseline_of(row: Mapping[str, Any], **overrides: Any) -> Baseline:
    """What a claim returns of this row."""
    given: dict[str, Any] = {
        "captured_at": NOON,
        "etag": row["@odata.etag"],
        "status": None if row["medx_callstatus"] is None else STATUSES[row["medx_callstatus"]],
        "last_session_id": row.get("medx_lastsessionid"),
        "attempt_count": row.get("medx_attemptcount"),
        "do_not_call": row.get("medx_donotcall"),
        "preserved": {
            name: row.get(name)
            for name in (
                "medx_notes", "medx_priority", "medx_lastdisposition", "medx_lasterror", "medx_nextattemptat",
            )
        },
    }  # fmt: skip
    return Baseline(**given | overrides)


@dataclass
class Desk:
    """Makes outcomes and plans for queue items of one simulator, remembering earlier plans as the planner does."""

    simulator: RunningSimulator
    offset: int = 0
    earlier: dict[str, list[EarlierPlan]] = field(default_factory=dict)
    policy: Policy = POLICY
    crm: ResolvedMapping = CRM

    def row(self, item: str) -> dict[str, Any]:
        return next(row for row in self.simulator.rows(QUEUE_ITEMS) if row["medx_callqueueitemid"] == item)

    def outcome(self, item: str, disposition: Disposition = Disposition.NO_ANSWER, **overrides: Any) -> CallOutcome:
        self.offset += 1
        start = NOON + timedelta(minutes=self.offset)
        given: dict[str, Any] = {
            "session_id": f"sess-{uuid.uuid4().hex[:12]}",
            "queue_item_id": item,
            "disposition": disposition,
            "account": Account(id=tenant.ACCOUNTS[0], name="Account 1"),
            "phone_number": "+15305550123",
            "started_at": start,
            "ended_at": start + timedelta(seconds=30),
        }
        if disposition is Disposition.NEEDS_HUMAN_REVIEW:
            given["human_review_reason"] = HumanReviewReason.LEGAL_REQUEST
        if disposition is Disposition.BLOCKED:
            given["failing_rules"] = ("d",)
        if disposition is Disposition.INTERESTED_EMAIL_CAPTURED:
            given |= {"captured_email": "kim@example.com", "captured_email_verified": True}
        if "baseline" not in overrides:
            given["baseline"] = baseline_of(self.row(item))
        return make_outcome(**given | overrides)

    def plan(self, item: str, disposition: Disposition = Disposition.NO_ANSWER, **overrides: Any) -> PlannedWriteback:
        return self.plan_of(self.outcome(item, disposition, **overrides))

    def plan_of(self, outcome: CallOutcome) -> PlannedWriteback:
        known = self.earlier.setdefault(outcome.queue_item_id, [])
        source = Source(topic="call-outcomes", partition=0, offset=self.offset)
        before = history(outcome, source, reversed(known), status_column=self.crm.queue_item.status)
        made = plan(outcome, source, self.crm, self.policy, before)
        assert not isinstance(made, Rejected), made
        known.append(earlier_plan(made))
        return made


class Topic:
    """The broker's side of a test: publishes plans, reads what comes out."""

    def __init__(self, bootstrap: str, partitions: int, prefix: str = "") -> None:
        self.bootstrap = bootstrap
        self.partitions = partitions
        self.topics = Topics().prefixed(prefix)
        self._producer = Producer({"bootstrap.servers": bootstrap, **_QUIET})
        self.published = 0

    def publish(self, *plans: PlannedWriteback, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        for one in plans:
            self.publish_raw(one.session_id.encode(), _PLANS.encode(one), self.partition(one.queue_item_id), headers)
        assert self._producer.flush(20) == 0

    def publish_raw(
        self, key: bytes | None, value: bytes | None, partition: int = 0, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        self._producer.produce(self.topics.planned_writebacks.name, value, key, partition, headers=list(headers))
        self._producer.flush(20)
        self.published += 1

    def partition(self, queue_item_id: str) -> int:
        return partition_of(queue_item_id.encode(), self.partitions)

    def results(self, topic: str | None = None) -> list[WritebackResult]:
        """All results so far, in the order of each partition."""
        name = topic or self.topics.writeback_results.name
        return [_RESULTS.decode(message.value()) for message in self.read(name) if message.value() is not None]

    def read(self, topic: str) -> list[Any]:
        """Every committed record of a topic, from the start to where it ends now, partition by partition."""
        config = {"bootstrap.servers": self.bootstrap, "group.id": f"read-{uuid.uuid4()}", **_QUIET}
        found: list[Any] = []
        read_to_end(
            config, topic, range(self.partitions), log=logging.getLogger("test"),
            on_records=found.extend, at_end=lambda _: None, wanted=lambda _: True,
        )  # fmt: skip
        return sorted(found, key=lambda message: (message.partition(), message.offset()))

    def committed(self, group: str = "writeback-writer") -> dict[int, int]:
        """Committed offset per partition; partitions without one are left out."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        try:
            name = self.topics.planned_writebacks.name
            parts = consumer.committed([TopicPartition(name, p) for p in range(self.partitions)], timeout=HANGS_AFTER_S)
            return {part.partition: part.offset for part in parts if part.offset >= 0}
        finally:
            consumer.close()

    def settled(self, group: str = "writeback-writer") -> set[tuple[int, int]]:
        """Partition and offset of every plan that a new writer would not look at."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        try:
            name = self.topics.planned_writebacks.name
            parts = consumer.committed([TopicPartition(name, p) for p in range(self.partitions)], timeout=60)
        finally:
            consumer.close()
        return {
            (part.partition, offset)
            for part in parts if part.offset >= 0
            for start, end in [(0, part.offset), *decode_settled(part.metadata, part.offset)]
            for offset in range(start, end)
        }  # fmt: skip

    def remembered(self, group: str = "writeback-writer") -> int:
        """How many plans a new writer would not look at again: those before the committed offsets, and those that the
        commits' metadata says are settled beyond.
        """
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        try:
            name = self.topics.planned_writebacks.name
            parts = consumer.committed([TopicPartition(name, p) for p in range(self.partitions)], timeout=HANGS_AFTER_S)
            known = [part for part in parts if part.offset >= 0]
            return sum(part.offset + _settled_beyond(part) for part in known)
        finally:
            consumer.close()

    def wait_for_committed(
        self, count: int, *, group: str = "writeback-writer", seconds: float = HANGS_AFTER_S
    ) -> None:
        """Until everything published is committed: `count` records over all partitions."""
        wait_until(
            lambda: sum(self.committed(group).values()) >= count,
            what=f"{count} plans committed", seconds=seconds, every=0.1,
        )  # fmt: skip


def _settled_beyond(part: TopicPartition) -> int:
    return sum(end - start for start, end in decode_settled(part.metadata, part.offset))


def writer_env(simulator: RunningSimulator, bootstrap: str, **overrides: str) -> dict[str, str]:
    """The environment of a writer process that ends within seconds whatever is broken."""
    return {
        "WRITER_WRITE": "true",
        "WRITER_DATAVERSE__URL": simulator.base_url,
        "WRITER_DATAVERSE__READ_TIMEOUT_S": "5",
        "WRITER_IDENTITIES": json.dumps([{"kind": "none"}]),
        "WRITER_BROKER__BOOTSTRAP_SERVERS": bootstrap,
        "WRITER_BROKER__CHECK_TOPIC_POLICIES": "false",
        "WRITER_TRANSACTIONS": "false",  # the embedded broker has none
        "WRITER_CONSUMER__COMMIT_INTERVAL_S": "0.2",
        "WRITER_CONSUMER__SESSION_TIMEOUT_MS": "1500",
        "WRITER_CONSUMER__HEARTBEAT_INTERVAL_MS": "300",
        "WRITER_CONSUMER__RELEASE_WITHIN_S": "3",
        "WRITER_FLOW__STOP_WITHIN_S": "5",
        "WRITER_FLOW__LATE_REQUEST_S": "1",
        "WRITER_ENDPOINT_HOST": "127.0.0.1",
        "WRITER_ENDPOINT_PORT": "0",
        "WRITER_LOG_FORMAT": "json",
        **overrides,
    }
