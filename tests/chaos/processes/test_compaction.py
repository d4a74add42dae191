"""The broker's log cleaner at work under both services: plans and results are compacted within seconds.

In between a plan is requeued again and again, one is planned anew in the place of another, and `writeback retire` puts
marks and tombstones; both services are killed and started again, and every outcome comes a second time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ops.demo.waiting import wait_until
from planner.core.retirement import mark_of
from schemas.headers import REPLAN, REQUEUE_COUNT
from schemas.records import CallOutcome, PlannedWriteback, ResultStatus, WritebackResult
from tests.chaos.processes.system import ProcessSystem, Record, Shape
from tests.integration.ops.kit import writeback
from tests.integration.planner.harness import AN_HOUR_AGO
from tests.support.brokers.kafka import RealKafka
from tests.support.factories import make_plan
from tests.support.forkserver import ForkServer

PLANNED, RESULTS = "planned-writebacks", "writeback-results"
CLEANED_SOON = {
    "segment.ms": "500", "min.cleanable.dirty.ratio": "0.01", "min.compaction.lag.ms": "1000",
    "max.compaction.lag.ms": "1500",
}  # fmt: skip
"""A record stays for a second at least, so that the audit's reader has it."""
IMPATIENT = {
    "WRITER_FLOW__MAX_PAUSE_S": "0.1", "WRITER_FLOW__BACK_OF_TOPIC_S": "0.2",
    "WRITER_FLOW__MAX_PLANS_PER_REQUEST": "1",
}  # fmt: skip
ANOTHER_POLICY = {"PLANNER_NEXT_ATTEMPT_AFTER_S": '{"no_answer": 3600}'}
ANCIENT = [f"ancient-{number}" for number in range(3)]


class Compacted:
    """A system whose compacted topics are cleaned while it is at work."""

    def __init__(self, system: ProcessSystem) -> None:
        self.system = system
        self.refusing, self.sick, *rest = system.items
        self.old, self.lively = rest[:2], rest[2:]
        self._sent = 0

    def until(self, condition: Callable[[], bool], what: str, *, every: float = 0.05) -> None:
        """Outcomes come in all the while: without them no segment is closed, and an open one is not cleaned."""

        def met() -> bool:
            system = self.system
            system.read()
            if len(system.open_sessions) < system.shape.most_open:
                self._sent += 1
                system.send(self.lively[self._sent % len(self.lively)])
            return condition()

        wait_until(met, what=what, every=every)

    def of(self, topic: str, session: str) -> list[Record]:
        return [one for one in self.system.published if (one.topic, one.key) == (topic, session)]

    def status(self, session: str) -> ResultStatus | None:
        said = [one.value for one in self.of(RESULTS, session) if isinstance(one.value, WritebackResult)]
        return said[-1].status if said else None

    def requeued(self, session: str) -> int:
        return sum(any(name == REQUEUE_COUNT for name, _ in one.headers) for one in self.of(PLANNED, session))

    def until_cleaned(self, topic: str, sessions: Collection[str]) -> None:
        """Until the cleaner has taken all records of these sessions that are followed by another one by now."""
        older = [(one.partition, one.offset) for each in sessions for one in self.of(topic, each)[:-1]]
        assert older

        def taken() -> bool:
            left = self.system.kafka.records(self.system.prefix + topic)
            return {(each.partition(), each.offset()) for each in left}.isdisjoint(older)

        self.until(taken, f"the cleaner has taken {len(older)} records of {topic}", every=0.3)


def test_W1_W2_W4_P1_P5_nothing_is_lost_or_doubled_while_the_topics_are_compacted(
    forks: ForkServer, kafka: RealKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = Shape(partitions=1, items=8, most_open=4, settings=IMPATIENT, compacted=CLEANED_SOON)
    with ProcessSystem(forks, kafka, tmp_path / "system", 0, shape) as system:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        monkeypatch.setenv("WRITEBACK_VIEW_FOLDER", str(tmp_path / "views"))
        monkeypatch.setenv("WRITEBACK_BROKER__BOOTSTRAP_SERVERS", kafka.bootstrap)
        monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", system.prefix)
        run = Compacted(system)
        _publish_ancient(system)
        system.settle(what="the first outcomes settle")
        for item in run.old:
            system.send(item)
        ill = system.simulator.fault(times=None, when=_write(run.sick), do=[{"kind": "error", "name": "sql_deadlock"}])
        sick = [system.send(run.sick).session_id for _ in range(2)]
        system.simulator.fault(times=1, when=_write(run.refusing), do=[{"kind": "error", "name": "plugin"}])
        refused = system.send(run.refusing)
        run.until(lambda: run.status(refused.session_id) is ResultStatus.BLOCKED, "the refused plan is blocked")
        run.until(lambda: all(run.requeued(each) for each in sick), "the failing plan and the next are requeued")
        run.until_cleaned(PLANNED, sick)

        for name in shape.processes:
            os.kill(system.lives[name].pid, signal.SIGKILL)
            system.wait(system.lives.pop(name))
        system.shape = replace(shape, settings=IMPATIENT | ANOTHER_POLICY)
        for name in shape.processes:
            system.start(name)
        system.send_again()
        _ask_for_a_new_plan(run, refused)
        run.until(lambda: run.status(refused.session_id) is ResultStatus.COMPLETED, "the new plan has landed")
        retired = _retire(run)
        system.simulator.call(lambda there: there.rules.remove(ill))
        run.until(lambda: {run.status(each) for each in sick} == {ResultStatus.COMPLETED}, "what was requeued landed")
        replaced = [refused.session_id, *sick, *retired, *ANCIENT]
        run.until_cleaned(PLANNED, replaced)
        run.until_cleaned(RESULTS, retired)

        for name in shape.processes:
            system.stop(name)
            system.start(name)
        system.send_again()
        system.settle_open(what="all settles")
        system.wait_for_commits()
        system.published = _as_decided(run, refused.session_id)
        system.audit()
    assert system.report.findings == []


def _write(item: str) -> dict[str, str]:
    return {"path": r"\$batch", "body": f"PATCH [^ ]*{item}"}


def _publish_ancient(system: ProcessSystem) -> None:
    """Marks of sessions so old that a run of `retire` puts tombstones in their place."""
    for session in ANCIENT:
        ended = AN_HOUR_AGO - timedelta(days=200)
        plan = make_plan(session_id=session, queue_item_id=session, started_at=ended, outcome_at=ended)
        system.append(PLANNED, session, mark_of(plan, ended + timedelta(days=90)))


def _ask_for_a_new_plan(run: Compacted, outcome: CallOutcome) -> None:
    [plan] = [one.value for one in run.of(PLANNED, outcome.session_id)]
    run.system.append("call-outcomes", outcome.queue_item_id, outcome, (REPLAN, plan.digest.encode()))


def _retire(run: Compacted) -> list[str]:
    """Sessions of queue items that are settled, once none of their outcomes can be read again."""
    system = run.system
    old = [one.session_id for one in system.outcomes if one.queue_item_id in run.old]
    topic = system.topics.call_outcomes.name
    [end] = system.kafka.end_offsets(topic).values()

    def all_planned() -> bool:
        return system.kafka.committed(system.groups.planner, topic)[0].offset >= end

    run.until(all_planned, "the planner has read what goes")
    system.kafka.delete_records(topic, 0, end)
    done = writeback("retire", "--age", "1s", "--for-real", "--reason", "they are old", "--limit", "0")
    assert done.code == 0, done.err
    run.until(lambda: all(any(map(_is_mark, run.of(PLANNED, each))) for each in old), "they have marks")
    run.until(lambda: all(run.of(PLANNED, each)[-1].value is None for each in ANCIENT), "ancient marks have tombstones")
    return old


def _is_mark(one: Record) -> bool:
    return isinstance(one.value, PlannedWriteback) and one.value.retired_at is not None


def _as_decided(run: Compacted, session: str) -> list[Record]:
    """The log as if the plan that a person had replaced, and its result, had never been: nothing of it was written."""
    first, *_ = run.of(PLANNED, session)
    gone = [
        first,
        *(one for one in run.of(RESULTS, session) if one.value and one.value.plan.digest == first.value.digest),
    ]
    return [
        replace(one, headers=(), seq=first.seq) if (one.topic, one.key) == (PLANNED, session) else one
        for one in run.system.published if one not in gone
    ]  # fmt: skip
