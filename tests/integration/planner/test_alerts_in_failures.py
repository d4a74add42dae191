"""Each alert fires on what a running planner shows in that failure, and none on what a healthy one shows."""

from dataclasses import replace

import pytest

from ops.demo.waiting import wait_until
from schemas.records import Disposition
from tests.integration.planner.harness import outcomes, planner_env, publish, published, ready
from tests.integration.planner.test_planner_process import PLANNER, ask
from tests.support.alerting import Scrape, alerting
from tests.unit.deploy.promtool import promtool_binary


@pytest.fixture
def planner(embedded_kafka, make_service):
    promtool_binary()
    service = make_service("planner", PLANNER, env=planner_env(embedded_kafka.bootstrap, PLANNER_LOOK_EVERY_S="0.2"))
    service.start(ready)
    wait_until(lambda: "planner_caught_up_timestamp_seconds 1" in ask(service, "/metrics"), what="it has caught up")
    return service


def test_what_a_healthy_planner_shows_alerts_nobody(embedded_kafka, planner):
    before = Scrape(ask(planner, "/metrics"))
    publish(embedded_kafka.bootstrap, outcomes(20))
    wait_until(lambda: 'planner_outcomes_total{outcome="planned"} 20.0' in ask(planner, "/metrics"), what="all planned")
    assert alerting(before, Scrape(ask(planner, "/metrics"))) == set()


def test_rejected_outcomes_with_an_opt_out_among_them(embedded_kafka, planner):
    before = Scrape(ask(planner, "/metrics"))
    invalid = [replace(each, ended_at=each.started_at.replace(year=1999)) for each in outcomes(20)]
    invalid[0] = replace(invalid[0], disposition=Disposition.DO_NOT_CALL, opt_out=True)
    publish(embedded_kafka.bootstrap, invalid)
    wait_until(lambda: published(embedded_kafka.bootstrap, "call-outcomes-rejected") >= 20, what="all are rejected")
    wait_until(lambda: 'outcome="rejected"} 20.0' in ask(planner, "/metrics"), what="all are counted")
    during = Scrape(ask(planner, "/metrics"))
    assert alerting(before, during) == {"WritebackOptOutRejected", "WritebackOutcomesRejected"}


def test_a_broker_that_is_away(embedded_kafka, planner):
    before = Scrape(ask(planner, "/metrics"))
    embedded_kafka.broker_down()
    wait_until(lambda: 'planner_waiting{cause="broker"} 1.0' in ask(planner, "/metrics"), what="it says so")
    assert alerting(before, Scrape(ask(planner, "/metrics"))) == {"WritebackPlannerWaits"}
