"""`retire` on a real broker: what goes, what stays whatever its age, and what may come of a retired session later."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from ops.actions import Sender
from ops.core.retiring import limits
from ops.demo.processes import Service, module
from ops.demo.waiting import HANGS_AFTER_S, wait_until
from ops.retire import RetireRun
from ops.settings import read_settings
from ops.view.retiring import Retiring
from ops.view.view import opened
from planner.core.planning import Rejected, plan
from planner.core.preceding import NO_HISTORY
from schemas.codec import single_object
from schemas.placement import partition_of
from schemas.records import (
    BlockReason,
    CallOutcome,
    Disposition,
    PlannedWriteback,
    PlanPosition,
    ResultStatus,
    Source,
    WritebackResult,
)
from schemas.topics import Topics
from simulator.testing import RunningSimulator
from tests.broker.writer.conftest import PARTITIONS, Writers
from tests.integration.ops.kit import writeback
from tests.integration.planner.harness import planner_env, publish, ready
from tests.integration.planner.test_planner_process import ask
from tests.integration.writer.kit import CRM, POLICY
from tests.support.brokers.kafka import RealKafka, read_topic
from tests.support.factories import an_id, make_baseline, make_outcome, make_result

D = Disposition
NOW = datetime.now(UTC).replace(microsecond=0)
OLD, ANCIENT = timedelta(days=95), timedelta(days=200)
WHY = ("--for-real", "--reason", "nightly", "--limit", "0")
OUTCOMES, PLANS, RESULTS = single_object(CallOutcome), single_object(PlannedWriteback), single_object(WritebackResult)
CLEANED_SOON = {
    "segment.bytes": "1048576", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01",
    "min.compaction.lag.ms": "0", "max.compaction.lag.ms": "1500", "delete.retention.ms": "1000",
}  # fmt: skip
OF_ANY_TIME = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
OLDEST_OUTCOME = NOW - timedelta(days=20)


@dataclass
class World:
    """Sessions of another season, each as it was planned, and as it settled."""

    kafka: RealKafka
    prefix: str
    outcomes: dict[str, CallOutcome] = field(default_factory=dict)
    _offsets: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))

    def __post_init__(self) -> None:
        self.topics = Topics().prefixed(self.prefix)
        self._producer = Producer({"bootstrap.servers": self.kafka.bootstrap})

    def session(
        self, name: str, ago: timedelta, *, item: str | None = None, disposition: Disposition = D.NO_ANSWER,
        status: ResultStatus | None = ResultStatus.COMPLETED, reason: BlockReason | None = None,
    ) -> None:  # fmt: skip
        """A status of None: nothing was reported, and the writer's group has not come so far."""
        ended = NOW - ago
        outcome = make_outcome(
            session_id=name, queue_item_id=an_id(item or f"item of {name}"), disposition=disposition,
            opt_out=disposition is D.DO_NOT_CALL, failing_rules=("d",) if disposition is D.BLOCKED else (),
            started_at=ended - timedelta(minutes=3), ended_at=ended, baseline=make_baseline(captured_at=ended),
        )  # fmt: skip
        at = partition_of(outcome.queue_item_id.encode(), PARTITIONS)
        made = plan(
            outcome, Source(topic="call-outcomes", partition=at, offset=7, timestamp=ended), CRM, POLICY, NO_HISTORY
        )
        assert not isinstance(made, Rejected), made
        self.outcomes[name] = outcome
        self.send(self.topics.planned_writebacks.name, name, PLANS.encode(made), at, ended)
        if status is not None:
            self._settle(made, at, ended, status, reason)
        self._offsets[at] += 1

    def _settle(
        self, made: PlannedWriteback, at: int, ended: datetime, status: ResultStatus, reason: BlockReason | None
    ) -> None:
        result = make_result(
            session_id=made.session_id, queue_item_id=made.queue_item_id, disposition=made.disposition,
            opt_out=made.disposition is D.DO_NOT_CALL, status=status, block_reason=reason,
            plan=PlanPosition(partition=at, offset=self._offsets[at], digest=made.digest), settled_at=ended,
            started_at=ended - timedelta(minutes=3), ended_at=ended,
        )  # fmt: skip
        landed = [("settled-as", b"landed")] if status is ResultStatus.COMPLETED else []
        self.send(self.topics.writeback_results.name, made.session_id, RESULTS.encode(result), at, ended, landed)
        self.commit(at, self._offsets[at] + 1)

    def send(self, topic: str, key: str, value: bytes | None, at: int, when: datetime = NOW, headers: Any = ()) -> None:
        stamp = round(when.timestamp() * 1000)
        self._producer.produce(topic, value, key, at, timestamp=stamp, headers=list(headers))
        assert self._producer.flush(20) == 0

    def commit(self, partition: int, offset: int) -> None:
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": f"{self.prefix}writeback-writer"})
        consumer.commit(
            offsets=[TopicPartition(self.topics.planned_writebacks.name, partition, offset)], asynchronous=False
        )
        consumer.close()

    def held(self, topic: str) -> dict[str, bytes | None]:
        """The last value of each key; None is a tombstone that was not cleaned away yet."""
        return {(each.key() or b"").decode(): each.value() for each in read_topic(self.kafka.bootstrap, topic)}

    def plans(self) -> dict[str, str]:
        """Session to what stands under its key: a plan, or a mark."""
        return {
            key: "plan" if PLANS.decode(value).steps else "mark"
            for key, value in self.held(self.topics.planned_writebacks.name).items() if value is not None
        }  # fmt: skip

    def results(self) -> set[str]:
        return {key for key, value in self.held(self.topics.writeback_results.name).items() if value is not None}

    def records(self) -> int:
        return sum(len(read_topic(self.kafka.bootstrap, topic)) for topic in self._compacted)

    @property
    def _compacted(self) -> tuple[str, str]:
        return self.topics.planned_writebacks.name, self.topics.writeback_results.name

    def wait_for_cleaning(self, records: int) -> None:
        """Segments roll when something is written to them: that is one record more in each partition."""

        def cleaned() -> bool:
            for topic in self._compacted:
                for at in range(PARTITIONS):
                    self.send(topic, "filler", None, at, datetime.now(UTC))
            return self.records() <= records + 6 * 2 * PARTITIONS

        wait_until(cleaned, what="the topics are compacted", every=1.0)


@pytest.fixture
def world(kafka: RealKafka, monkeypatch: pytest.MonkeyPatch) -> World:
    prefix = kafka.unique("retire") + "."
    for spec in Topics().prefixed(prefix).all():
        more = CLEANED_SOON if spec.policy == "compact" else OF_ANY_TIME
        kafka.create_topic(spec.name, PARTITIONS, {**spec.creation_config(), **more})
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", prefix)
    return World(kafka, prefix)


def a_season(world: World) -> None:
    """What goes, and what stays for one reason each. The oldest outcome that can be read is a duplicate of 20 days ago:
    one of a session that ended 90 days before that would be too old to be planned."""
    for number in range(40):
        world.session(f"old-{number:02}", OLD)
        world.session(f"ancient-{number:02}", ANCIENT)
    world.session(
        "not-eligible", OLD, disposition=D.BLOCKED, status=ResultStatus.BLOCKED, reason=BlockReason.ELIGIBILITY
    )
    world.session("closed", OLD, status=ResultStatus.CLOSED)
    world.session("opted-out", ANCIENT, disposition=D.DO_NOT_CALL)
    world.session("young", timedelta(days=80))
    world.session("of-a-live-item", ANCIENT, item="live")
    world.session("live", timedelta(days=1), item="live")
    world.session("blocked", ANCIENT, status=ResultStatus.BLOCKED, reason=BlockReason.METADATA)
    world.session("beside-blocked", ANCIENT, item="item of blocked")
    world.session(
        "opt-out-open", ANCIENT, disposition=D.DO_NOT_CALL, status=ResultStatus.BLOCKED,
        reason=BlockReason.CONFLICT_DETECTED,
    )  # fmt: skip
    for number in range(PARTITIONS * 3):
        world.session(f"unsettled-{number}", ANCIENT, status=None)
    duplicate = world.outcomes["young"]
    at = partition_of(duplicate.queue_item_id.encode(), PARTITIONS)
    world.send(world.topics.call_outcomes.name, duplicate.queue_item_id, OUTCOMES.encode(duplicate), at, OLDEST_OUTCOME)


STAY = {
    "young", "of-a-live-item", "live", "blocked", "beside-blocked", "opt-out-open",
    *(f"unsettled-{number}" for number in range(PARTITIONS * 3)),
}  # fmt: skip
MARKED = {*(f"old-{number:02}" for number in range(40)), "not-eligible", "closed", "opted-out"}
AFTER = dict.fromkeys(MARKED, "mark") | dict.fromkeys(STAY, "plan")


@contextmanager
def running_planner(world: World, folder: Path) -> Iterator[Service]:
    env = planner_env(world.kafka.bootstrap, prefix=world.prefix, PLANNER_FOLLOW_EVERY_S="0.5")
    service = Service(module("planner"), env=env, output=folder / "planner").start()
    try:
        service.wait_for(lambda: ready(service), what="the planner is ready")
        yield service
    finally:
        service.kill()


def pins(planner: Service) -> int:
    found = re.search(r"^planner_pins (.*)$", ask(planner, "/metrics"), re.MULTILINE)
    assert found
    return round(float(found[1]))


def test_W2_old_items_go_from_topics_and_pins_beside_running_services_and_nothing_comes_of_them_later(
    world: World, simulator: RunningSimulator, writers: Writers, tmp_path: Path
) -> None:
    a_season(world)
    shown = writeback("retire", "--limit", "0")
    assert shown.code == 0, shown.err
    assert "retire: 83 sessions" in shown.out
    assert "43 get a mark" in shown.out
    assert "40 go without a trace" in shown.out
    assert "nothing was changed" in shown.err
    assert set(world.plans().values()) == {"plan"}, "without --for-real it is only shown"
    above = writeback("retire", "--limit", "82", *WHY[:3])
    assert (above.code, "more than the ceiling of 82" in above.err) == (1, True)

    with running_planner(world, tmp_path) as planner:
        writer = writers(
            "writer-0", world.prefix, WRITER_WRITE="false", WRITER_BROKER__CHECK_TOPIC_POLICIES="false"
        ).start()
        wait_until(lambda: pins(planner) == len(world.outcomes), what="the planner knows every session")
        before = world.records()
        done = writeback("retire", *WHY, "--json")
        assert (done.code, done.json[-1]) == (0, {"retired": 83, "left_out": 0}), done.err
        assert (world.plans(), world.results()) == (AFTER, STAY - {f"unsettled-{n}" for n in range(PARTITIONS * 3)})
        wait_until(lambda: pins(planner) == len(AFTER), what="the planner has let the ancient ones go")
        world.wait_for_cleaning(before - 80 - 40)
        assert world.plans() == AFTER

        comes = [world.outcomes[name] for name in ("old-03", "ancient-03", "opted-out")]
        changed = [replace(each, disposition=D.DO_NOT_CALL, opt_out=True) for each in comes[:2]]
        publish(world.kafka.bootstrap, [*comes, *changed], topic=world.topics.call_outcomes.name)
        wait_until(
            lambda: len(read_topic(world.kafka.bootstrap, world.topics.call_outcomes_rejected.name)) == 3,
            what="the changed and the ancient ones are rejected",
        )
        assert world.plans() == AFTER, "nothing was planned anew"
        assert writer.stop() == 0
    assert simulator.oplog(actor="application") == []
    assert [row["status"] for row in writeback("list", "--session", "old-03", "--json").json] == ["retired"]
    assert writeback("trace", "old-03", "--no-crm").code == 0
    again = writeback("retire", *WHY, "--json")
    assert (again.code, again.json[0]["count"]) == (0, 0)
    [recorded] = [
        json.loads(each.value() or b"")
        for each in read_topic(world.kafka.bootstrap, world.topics.operator_actions.name)
    ]
    assert (recorded["action"], recorded["why"], recorded["count"]) == ("retire", "nightly", 83)


class Killed(BaseException):
    """As SIGKILL: nothing after it happens."""


class KilledAt(Sender):
    """Dies right before it sends for the nth time: what was sent before is on the topics."""

    def __init__(self, *given: Any, at: int) -> None:
        super().__init__(*given)
        self.left = at

    def send(self, records: Any) -> list[int]:
        if self.left == 0:
            raise Killed
        self.left -= 1
        return super().send(records)


@pytest.mark.parametrize("step", range(4))
def test_B2_killed_at_any_step_the_next_run_ends_where_one_run_ends(world: World, step: int) -> None:
    """Two pieces of two steps each; between a session's mark and its result's tombstone it is retired, never lost."""
    a_season(world)
    settings = read_settings()
    with opened(settings) as view, KilledAt(settings, at=step) as sender:
        selected = Retiring(view.store, limits(NOW, timedelta(days=90), OLDEST_OUTCOME))
        with pytest.raises(Killed):
            RetireRun(view, selected, sender, NOW, at_once=50).carry_out(83, lambda *_: None)
    between = {row["session_id"]: row["status"] for row in writeback("list", "--json").json}
    assert "passed_over" not in between.values()
    assert writeback("retire", *WHY).code == 0
    assert (world.plans(), world.results()) == (AFTER, STAY - {f"unsettled-{n}" for n in range(PARTITIONS * 3)})


def test_B2_after_a_real_SIGKILL_the_next_run_ends_where_one_run_ends(world: World, tmp_path: Path) -> None:
    """As soon as its first marks are on the topic, whatever it has sent by then."""
    a_season(world)
    planned = world.topics.planned_writebacks.name
    before = world.kafka.end_offsets(planned)
    env = {name: value for name, value in os.environ.items() if name.startswith(("WRITEBACK_", "XDG_"))}
    run = Service(module("ops.cli", "retire", *WHY), env=env, output=tmp_path / "killed").start()
    run.wait_for(lambda: world.kafka.end_offsets(planned) != before, what="it has begun", seconds=HANGS_AFTER_S)
    run.kill()
    between = {row["session_id"]: row["status"] for row in writeback("list", "--json").json}
    assert "passed_over" not in between.values()
    assert writeback("retire", *WHY).code == 0
    assert (world.plans(), world.results()) == (AFTER, STAY - {f"unsettled-{n}" for n in range(PARTITIONS * 3)})


def test_P1_a_session_that_is_sent_again_while_it_is_being_retired_is_left_with_its_item(world: World) -> None:
    world.session("one", OLD, item="an item")
    world.session("two", OLD, item="an item")
    world.session("three", OLD)
    settings = read_settings()
    with opened(settings) as view, Sender(settings) as sender:
        selected = Retiring(view.store, limits(NOW, timedelta(days=90), OLDEST_OUTCOME))
        value = world.held(world.topics.planned_writebacks.name)["one"]
        at = partition_of(an_id("an item").encode(), PARTITIONS)
        world.send(world.topics.planned_writebacks.name, "one", value, at, NOW, [("replay", b"{}")])
        assert RetireRun(view, selected, sender, NOW).carry_out(3, lambda *_: None) == 1
    assert world.plans() == {"one": "plan", "two": "plan", "three": "mark"}


def test_nothing_is_retired_that_is_younger_than_the_oldest_outcome(world: World) -> None:
    """With an age of nothing, a call that has just settled is kept back by the outcomes that can be read again."""
    world.session("settled", timedelta(minutes=1))
    publish(world.kafka.bootstrap, [world.outcomes["settled"]], topic=world.topics.call_outcomes.name)
    world.session("settled-after", timedelta(hours=-2))
    ran = writeback("retire", "--age", "0s", "--json")
    assert (ran.code, ran.json[0]["mark"]) == (0, 1), "only what had settled before the outcome was appended"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--for-real"], "say why"), (["--age", "soon"], "give how long"), (["--limit", "-1"], "--limit")],
)
def test_bad_usage_is_exit_64_with_one_line(arguments: list[str], said: str) -> None:
    ran = writeback("retire", *arguments)
    assert (ran.code, ran.err.count("\n")) == (64, 1)
    assert said in ran.err
