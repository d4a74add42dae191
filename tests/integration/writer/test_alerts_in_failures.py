"""Each alert fires on what a running writer shows in that failure, and none on what a healthy one shows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from ops.demo.waiting import wait_until
from schemas.headers import FIRST_APPENDED_AT
from schemas.records import Disposition, PlannedWriteback
from simulator.testing import RunningSimulator
from tests.integration.writer.inprocess import RunningWriter, running_writer
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from tests.integration.writer.test_installation_trouble import PRIVILEGE, WRITE
from tests.integration.writer.test_mapping_verified import mapping_of, spoil
from tests.support.alerting import Scrape, alerting

pytestmark = pytest.mark.usefixtures("promtool")
TWO_HOURS_AGO = (FIRST_APPENDED_AT, str(round((time.time() - 7200) * 1000)).encode())


@pytest.fixture
def promtool() -> None:
    from tests.unit.deploy.promtool import promtool_binary

    promtool_binary()


def scrape(writer: RunningWriter) -> Scrape:
    assert writer.service is not None
    return Scrape(generate_latest(writer.service.parts.metrics.registry).decode())


@contextmanager
def healthy_writer(simulator: RunningSimulator, topic: Topic, **env: str) -> Iterator[tuple[RunningWriter, Scrape]]:
    """A writer with its partitions, signed in, and what it shows then."""
    with running_writer(writer_env(simulator, topic.bootstrap, WRITER_FLOW__MAX_PAUSE_S="0.2", **env)) as writer:
        wait_until(lambda: writer.metric("writeback_caught_up_timestamp_seconds") > 0, what="it has caught up")
        wait_until(lambda: writer.metric("writeback_signed_in", identity="none-0") == 1, what="it is signed in")
        yield writer, scrape(writer)


def plans(desk: Desk, count: int, *, opt_out: bool = False) -> list[PlannedWriteback]:
    disposition = Disposition.DO_NOT_CALL if opt_out else Disposition.NO_ANSWER
    return [desk.plan(seed_item(desk.simulator), disposition) for _ in range(count)]


def blocked_opt_outs(writer: RunningWriter) -> bool:
    return writer.metric("writeback_blocked_opt_outs_total") > 0


def fails(simulator: RunningSimulator, **action: Any) -> None:
    simulator.fault(when=WRITE, times=None, do=[action])


def test_what_a_healthy_writer_shows_alerts_nobody(simulator: RunningSimulator, desk: Desk, topic: Topic) -> None:
    with healthy_writer(simulator, topic) as (writer, before):
        topic.publish(*plans(desk, 10), *plans(desk, 2, opt_out=True))
        topic.wait_for_committed(12)
        wait_until(lambda: writer.metric("writeback_in_flight_plans") == 0, what="nothing is in flight")
        during = scrape(writer)
    assert alerting(before, during) == set()


def test_a_dataverse_that_fails(simulator: RunningSimulator, desk: Desk, topic: Topic) -> None:
    with healthy_writer(simulator, topic) as (writer, before):
        fails(simulator, kind="status", status=503)
        topic.publish(*plans(desk, 10), *plans(desk, 2, opt_out=True), headers=[TWO_HOURS_AGO])
        wait_until(lambda: writer.metric("writeback_outage") == 1, what="the circuit is open")
        wait_until(
            lambda: writer.metric("writeback_oldest_unsettled_opt_out_age_seconds") > 7000, what="the opt-outs are old"
        )
        during = scrape(writer)
    assert alerting(before, during) == {"WritebackDataverseFails", "WritebackPlansDoNotSettle", "WritebackOptOutLate"}


def test_a_privilege_that_is_missing(simulator: RunningSimulator, desk: Desk, topic: Topic) -> None:
    with healthy_writer(simulator, topic) as (writer, before):
        fails(simulator, **PRIVILEGE)
        topic.publish(*plans(desk, 12, opt_out=True))
        wait_until(lambda: writer.metric("writeback_held_plans", reason="permanent_other") > 0, what="plans are held")
        wait_until(lambda: blocked_opt_outs(writer), what="some are blocked")
        during = scrape(writer)
    fired = alerting(before, during)
    assert {"WritebackPlansHeld", "WritebackPlansBlocked", "WritebackOptOutBlocked"} <= fired
    assert fired <= {"WritebackPlansHeld", "WritebackPlansBlocked", "WritebackOptOutBlocked", "WritebackDataverseFails"}


def test_a_dataverse_that_throttles(simulator: RunningSimulator, desk: Desk, topic: Topic) -> None:
    with healthy_writer(simulator, topic) as (writer, before):
        hold = {"kind": "throttle", "facet": "requests", "seconds": 1200.0}
        simulator.fault(when={"path": r"\$batch"}, times=None, do=[hold])
        topic.publish(*plans(desk, 1))
        waited = "writeback_throttle_wait_seconds_total"
        wait_until(lambda: writer.metric(waited, identity="none-0") > 900, what="it is asked to wait")
        during = scrape(writer)
    assert alerting(before, during) == {"WritebackThrottled"}


def test_a_mapping_that_does_not_fit(simulator: RunningSimulator, topic: Topic, tmp_path: Path) -> None:
    with healthy_writer(simulator, topic) as (_, before):
        pass
    file = mapping_of(simulator, tmp_path, spoil)
    with healthy_writer(simulator, topic, WRITER_MAPPING_FILE=str(file)) as (writer, _):
        wait_until(lambda: writer.metric("writeback_mapping_gaps") > 0, what="the gaps are found")
        during = scrape(writer)
    assert alerting(before, during) == {"WritebackMappingDoesNotFit"}


def test_a_dry_run_that_is_left_on(simulator: RunningSimulator, topic: Topic) -> None:
    with healthy_writer(simulator, topic, WRITER_WRITE="false") as (writer, before):
        during = scrape(writer)
    assert alerting(before, during) == {"WritebackDryRun"}


def test_a_plan_of_an_unknown_schema(simulator: RunningSimulator, topic: Topic) -> None:
    with healthy_writer(simulator, topic) as (writer, before):
        topic.publish_raw(b"sess-1", b"\xc3\x01" + bytes(8))
        wait_until(lambda: writer.metric("writeback_unreadable_partitions") == 1, what="it is met")
        during = scrape(writer)
    assert alerting(before, during) == {"WritebackPlansUnreadable"}
