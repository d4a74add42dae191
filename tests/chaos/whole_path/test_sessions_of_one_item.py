"""What becomes of a queue item's sessions on their way through both services: outcomes in, rows out. Real processes.

A session that settled long ago is retired: a mark takes its plan's place, and a tombstone its result's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from planner.core.retirement import mark_of
from schemas.codec import single_object
from schemas.records import BlockReason, CallOutcome, Disposition, PlannedWriteback, ResultStatus, WritebackResult
from simulator.testing import RunningSimulator
from tests.chaos.writer.conftest import desk, embedded, simulator, topic
from tests.integration.planner.harness import AN_HOUR_AGO, CODEC, planner_env, ready
from tests.integration.planner.test_planner_process import ask
from tests.integration.writer.kit import Desk, Topic, baseline_of, seed_item, writer_env
from tests.support.checker import writes
from tests.support.factories import NOON, an_id

__all__ = ["desk", "embedded", "simulator", "topic"]

D = Disposition
PLANS = single_object(PlannedWriteback)


class OneItem:
    """One queue item, a planner, a writer, and a call system that waits until its call is settled."""

    def __init__(
        self, simulator: RunningSimulator, desk: Desk, topic: Topic, service: Callable[[str, dict[str, str]], Service]
    ) -> None:
        self.simulator, self.desk, self.topic = simulator, desk, topic
        self.item = seed_item(simulator)
        self._service = service
        self._producer = Producer({
            "bootstrap.servers": topic.bootstrap, "partitioner": "murmur2_random", "log_level": 0,
        })  # fmt: skip
        self._calls = 0
        self.planner = self._started("planner")
        self.writer = self._started("writer")

    def _started(self, kind: str) -> Service:
        env = writer_env(self.simulator, self.topic.bootstrap)
        if kind == "planner":
            env = planner_env(self.topic.bootstrap, PLANNER_FOLLOW_EVERY_S="0.5")
        service = self._service(kind, env).start()
        if kind == "planner":
            service.wait_for(lambda: ready(service), what="the planner is ready")
        return service

    def restart(self) -> None:
        for service in (self.planner, self.writer):
            assert service.stop() == 0
        self.planner, self.writer = self._started("planner"), self._started("writer")

    def outcome(self, disposition: Disposition = D.NO_ANSWER, **overrides: Any) -> CallOutcome:
        began = AN_HOUR_AGO + timedelta(minutes=self._calls)
        self._calls += 1
        given = {
            "baseline": baseline_of(self.row, captured_at=began),
            "started_at": began,
            "ended_at": began + timedelta(seconds=30),
        }
        return self.desk.outcome(self.item, disposition, **given | overrides)

    def publish(self, *outcomes: CallOutcome) -> None:
        for outcome in outcomes:
            self._producer.produce(
                self.topic.topics.call_outcomes.name, CODEC.encode(outcome), outcome.queue_item_id.encode()
            )
        assert self._producer.flush(20) == 0

    def call(self, disposition: Disposition = D.NO_ANSWER, **overrides: Any) -> CallOutcome:
        made = self.outcome(disposition, **overrides)
        self.publish(made)
        wait_until(lambda: made.session_id in self.results(), what="the call is settled")
        return made

    def retire(self, *outcomes: CallOutcome) -> None:
        sessions = {each.session_id.encode() for each in outcomes}
        topics = self.topic.topics
        for record in self.topic.read(topics.planned_writebacks.name):
            if record.key() in sessions:
                mark = PLANS.encode(mark_of(PLANS.decode(record.value()), NOON))
                self._producer.produce(topics.planned_writebacks.name, mark, record.key(), record.partition())
                self._producer.produce(topics.writeback_results.name, None, record.key(), record.partition())
        assert self._producer.flush(20) == 0

    def results(self) -> dict[str, WritebackResult]:
        """The last one of each session."""
        return {result.session_id: result for result in self.topic.results()}

    @property
    def row(self) -> dict[str, Any]:
        return self.desk.row(self.item)

    def written(self) -> int:
        """Operations that took effect in the CRM."""
        log = writes(self.simulator.oplog(actor="application"))
        return sum(entry["outcome"] == "committed" for entry in log)

    def took(self, what: str) -> int:
        """Outcomes that this planner planned, knew already, or rejected."""
        return self._figure(f'planner_outcomes_total{{outcome="{what}"}}')

    def let_planner_follow(self, forgotten: CallOutcome) -> None:
        """A tombstone behind the marks shows in the planner's figures, which a mark does not."""
        self._producer.produce(
            self.topic.topics.planned_writebacks.name, None, forgotten.session_id, self.topic.partition(self.item)
        )
        assert self._producer.flush(20) == 0
        wait_until(lambda: self._figure("planner_pins") == self._calls - 1, what="the planner has read the marks")

    def _figure(self, name: str) -> int:
        found = re.search(rf"^{re.escape(name)} (.*)$", ask(self.planner, "/metrics"), re.MULTILINE)
        assert found
        return round(float(found[1]))

    def replay_everything(self) -> None:
        """A group that has committed nothing reads every plan and mark from the start."""
        again = self._service("writer-again", writer_env(
            self.simulator, self.topic.bootstrap, WRITER_CONSUMER__GROUP="again"
        )).start()  # fmt: skip
        records = self.topic.read(self.topic.topics.planned_writebacks.name)
        last = {record.partition(): record.offset() for record in records}
        again.wait_for(
            lambda: all(self.topic.committed("again").get(at, 0) > offset for at, offset in last.items()),
            what="everything was read again",
        )
        assert again.stop() == 0


@pytest.fixture
def one_item(
    simulator: RunningSimulator, desk: Desk, topic: Topic, embedded: EmbeddedBroker, tmp_path: Path
) -> Iterator[OneItem]:
    with ExitStack() as ending:
        made: list[Service] = []

        def service(name: str, env: dict[str, str]) -> Service:
            kind = name.partition("-")[0]
            made.append(Service(module(kind), env=env, output=tmp_path / f"{name}-{len(made)}"))
            ending.callback(made[-1].kill)
            return made[-1]

        yield OneItem(simulator, desk, topic, service)


@pytest.mark.parametrize("restarted", [False, True], ids=["running on", "started anew"])
def test_W2_nothing_that_comes_of_a_retired_session_changes_or_doubles_anything(
    one_item: OneItem, *, restarted: bool
) -> None:
    forgotten = one_item.call(D.NO_ANSWER)
    retired, landed = one_item.call(D.NO_ANSWER), one_item.call(D.NOT_INTERESTED)
    one_item.retire(retired)
    if restarted:
        one_item.restart()
    one_item.let_planner_follow(forgotten)
    row, written, duplicates = one_item.row, one_item.written(), one_item.took("duplicate")

    one_item.publish(retired, replace(retired, ended_at=retired.ended_at + timedelta(seconds=1)))
    one_item.publish(replace(retired, disposition=D.DO_NOT_CALL, opt_out=True, ended_at=retired.ended_at))
    wait_until(lambda: one_item.took("rejected") == 2, what="the changed outcomes are rejected")
    assert one_item.took("duplicate") == duplicates + 1
    one_item.replay_everything()

    assert (one_item.row, one_item.written()) == (row, written)
    assert (row["medx_callstatus"], row["medx_attemptcount"]) == (2, 3)
    assert row["medx_lastsessionid"] == landed.session_id
    assert len(one_item.simulator.rows("phonecalls")) == 3
    reasons = [
        dict(record.headers())["rejection-reasons"]
        for record in one_item.topic.read(one_item.topic.topics.call_outcomes_rejected.name)
    ]
    assert all(b"mismatch" in each for each in reasons)


def test_W2_after_its_sessions_were_retired_an_item_is_counted_on(one_item: OneItem) -> None:
    calls = [one_item.call(D.BLOCKED if number == 2 else D.NO_ANSWER) for number in range(6)]
    assert one_item.results()[calls[2].session_id].block_reason is BlockReason.ELIGIBILITY
    one_item.retire(*calls)
    one_item.restart()
    one_item.call(D.NO_ANSWER)
    assert one_item.row["medx_attemptcount"] == 6, "five calls that were placed, and this one"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (an_id("a session"), an_id("a session").upper()),
        ("2026-11-20T12:00:00Z", "2026-11-20T13:00:00+01:00"),
    ],
    ids=["one UUID in two cases", "one instant in two forms"],
)  # fmt: skip
def test_W2_P1_two_session_ids_that_a_crm_takes_for_one_are_two_calls_for_both_services(
    one_item: OneItem, one: str, other: str
) -> None:
    for session in (one, other):
        one_item.call(session_id=session)
    assert {result.status for result in one_item.results().values()} == {ResultStatus.COMPLETED}
    assert sorted(call["medx_idempotencykey"] for call in one_item.simulator.rows("phonecalls")) == sorted([one, other])
    assert (one_item.row["medx_attemptcount"], one_item.row["medx_lastsessionid"]) == (2, other)


def test_P1_calls_of_one_item_in_one_batch_are_planned_on_each_other_and_counted_once_each(one_item: OneItem) -> None:
    """More of them than any list of earlier sessions could leave out, on the baseline that the first one read."""
    baseline = one_item.outcome().baseline
    calls = [one_item.outcome(baseline=baseline) for _ in range(12)]
    one_item.publish(*calls, *calls)
    wait_until(lambda: len(one_item.results()) == len(calls), what="every call is settled")
    assert {result.status for result in one_item.results().values()} == {ResultStatus.COMPLETED}
    assert (one_item.row["medx_attemptcount"], one_item.row["medx_lastsessionid"]) == (12, calls[-1].session_id)
    assert len(one_item.simulator.rows("phonecalls")) == 12
