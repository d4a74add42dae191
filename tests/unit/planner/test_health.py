import asyncio
import threading
from collections import Counter
from types import SimpleNamespace

import pytest
import structlog
from faust.types import TP
from prometheus_client import CollectorRegistry, generate_latest

from planner import health
from planner.core.fence import Fence, Membership
from planner.errors import Stuck
from planner.health import LONGEST_STANDSTILL_S, Health
from planner.metrics import Metrics
from planner.stream.stream import OutcomeStream
from planner.waiting import Waits


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def parts(monkeypatch):
    """A planner that is recovering, as far as its health can see it."""
    outcomes, planned = TP("call-outcomes", 0), TP("planned-writebacks", 0)
    tables = SimpleNamespace(
        actives_ready=False,
        changelog_topics={"planned-writebacks"},
        recovery=SimpleNamespace(in_recovery=True, active_remaining=lambda: Counter({"planned-writebacks": 40})),
    )
    assignor = SimpleNamespace(assigned_actives=lambda: [outcomes, planned])
    parts = SimpleNamespace(
        app=SimpleNamespace(tables=tables, assignor=assignor, should_stop=False),
        store=SimpleNamespace(records_read=0),
        reader=SimpleNamespace(remaining=900_000, stopped=threading.Event()),
        registry=CollectorRegistry(),
        clock=Clock(),
        ended=[],
        told=structlog.testing.CapturingLogger(),
    )
    monkeypatch.setattr(health, "time", parts.clock)
    monkeypatch.setattr(health, "hard_exit", parts.ended.append)
    monkeypatch.setattr(health, "log", parts.told)
    metrics = Metrics(parts.registry)
    parts.waits, parts.fence = Waits(metrics), Fence()
    stream = OutcomeStream(parts.app, "call-outcomes")
    parts.health = Health(stream, metrics, parts.store, parts.reader, parts.waits, parts.fence)
    return parts


def turn(parts) -> None:
    """One turn of the watch."""

    async def once() -> None:
        async def stop(_seconds: float) -> None:
            parts.app.should_stop = True

        parts.app.should_stop, parts.app.sleep = False, stop
        await parts.health.watch()

    asyncio.run(once())


def events(parts) -> list[str]:
    return [call.args[0] for call in parts.told.calls]


def test_recovery_shows_its_progress_in_readiness_log_and_metrics(parts):
    verdict = parts.health.ready()
    assert not verdict.ok
    assert verdict.checks["recovery_remaining"] == 900_000
    turn(parts)
    assert events(parts) == ["recovery.progress"]
    assert parts.told.calls[0].kwargs == {"remaining": 900_000, "read": 0}
    assert "planner_recovery_remaining 900000.0" in generate_latest(parts.registry).decode()


def test_what_faust_recovers_by_itself_counts_too(parts):
    parts.reader.remaining = 0
    assert parts.health.ready().checks["recovery_remaining"] == 40


def test_a_planner_is_ready_when_it_is_assigned_and_recovered(parts):
    parts.app.tables.actives_ready, parts.app.tables.recovery.in_recovery, parts.reader.remaining = True, False, 0
    turn(parts)
    turn(parts)
    verdict = parts.health.ready()
    assert verdict.ok
    assert verdict.checks == {
        "mapping": True,
        "recovered": True,
        "recovery_remaining": 0,
        "partitions": 1,
        "waiting_for": [],
    }
    assert events(parts) == ["planner.ready"]


def test_a_planner_counts_its_partitions_the_rebalances_it_saw_and_the_batches_it_gave_up(parts):
    turn(parts)
    parts.fence.joined(Membership("g", 57, "m"))
    turn(parts)
    parts.fence.abandon(57)
    parts.fence.joined(Membership("g", 59, "m"))
    turn(parts)
    turn(parts)
    names = ("planner_assigned_partitions", "planner_rebalances_total", "planner_abandoned_batches_total")
    assert [parts.registry.get_sample_value(name) for name in names] == [1, 2, 1]


def test_a_planner_lives_as_long_as_its_loop_turns_whether_or_not_it_is_ready(parts):
    turn(parts)
    assert parts.health.live().ok
    parts.clock.now += 29
    assert parts.health.live().ok
    parts.clock.now += 2
    assert not parts.health.live().ok


def test_a_planner_that_neither_recovers_nor_plans_starts_again(parts):
    turn(parts)
    for _ in range(3):  # a slow recovery is progress
        parts.clock.now += LONGEST_STANDSTILL_S
        parts.store.records_read += 1
        turn(parts)
    assert parts.ended == []
    parts.clock.now += LONGEST_STANDSTILL_S + 1
    turn(parts)
    assert isinstance(parts.ended[0], Stuck)


def test_a_planner_that_gave_up_a_batch_and_gets_no_new_membership_starts_again(parts):
    parts.app.tables.actives_ready, parts.app.tables.recovery.in_recovery, parts.reader.remaining = True, False, 0
    parts.fence.joined(Membership("g", 1, "m"))
    turn(parts)
    parts.fence.abandon(1)
    parts.clock.now += LONGEST_STANDSTILL_S - 1
    turn(parts)
    assert parts.ended == []
    parts.clock.now += 2
    turn(parts)
    assert isinstance(parts.ended[0], Stuck)


def test_a_planner_that_gave_up_a_batch_waits_for_a_broker_that_is_away(parts):
    """No new process would get a new membership either, and nobody could ask this one for its figures."""
    parts.app.tables.actives_ready, parts.app.tables.recovery.in_recovery, parts.reader.remaining = True, False, 0
    parts.fence.joined(Membership("g", 1, "m"))
    parts.fence.abandon(1)
    parts.waits.begin("broker", "it is away")
    for _ in range(3):
        parts.clock.now += LONGEST_STANDSTILL_S
        turn(parts)
    assert parts.ended == []


def test_a_planner_that_waits_for_somebody_is_not_ready_says_so_once_and_does_not_start_again(parts):
    parts.app.tables.actives_ready, parts.app.tables.recovery.in_recovery, parts.reader.remaining = True, False, 0
    with structlog.testing.capture_logs() as logs:
        parts.waits.begin("registry", "it is away")
        parts.waits.begin("registry", "it is away")
        verdict = parts.health.ready()
        assert (verdict.ok, verdict.checks["waiting_for"]) == (False, ["registry"])
        assert 'planner_waiting{cause="registry"} 1.0' in generate_latest(parts.registry).decode()
        parts.clock.now += LONGEST_STANDSTILL_S + 1
        turn(parts)
        parts.waits.end("registry")
        parts.waits.end("registry")
    assert [line["event"] for line in logs] == ["planner.waiting", "planner.resumed"]
    assert 'planner_waiting{cause="registry"} 0.0' in generate_latest(parts.registry).decode()
    assert parts.health.ready().ok
    assert parts.ended == []
