"""B1: personal data in plans, and in the CRM's own error messages, shows in nothing that the writer says."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from ops.demo.processes import Service, module
from ops.demo.waiting import HANGS_AFTER_S, wait_until
from schemas.records import Account, Disposition, ResultStatus
from simulator import tenant
from simulator.testing import RunningSimulator
from tests.integration.writer.kit import QUEUE_ITEMS, Desk, Topic, seed_item, writer_env

NUMBER, EMAIL, NAME = "+15305550142", "canary.kim@example.com", "Canary Clinic"
CANARIES = (NUMBER, "5305550142", "canary", "Canary")


def test_B1_canaries_show_in_no_log_metric_key_header_result_or_error(
    simulator: RunningSimulator, desk: Desk, topic: Topic, tmp_path: Path
) -> None:
    def plan_for(disposition: Disposition, item: str) -> None:
        outcome = desk.outcome(
            item, disposition, phone_number=NUMBER, account=Account(id=tenant.ACCOUNTS[0], name=NAME),
            captured_email=EMAIL, captured_email_verified=True, callback_window=f"at {NAME}",
        )  # fmt: skip
        topic.publish(desk.plan_of(outcome))

    items = [seed_item(simulator) for _ in range(6)]
    said_no = {"kind": "status", "status": 400, "code": "0x80040265", "message": f"No for {EMAIL}, {NUMBER}"}
    for item in items:
        plan_for(Disposition.INTERESTED_EMAIL_CAPTURED, item)
    simulator.edit(QUEUE_ITEMS, items[0], {"medx_notes": f"Call {NUMBER}"})
    for item in items[1:3]:
        simulator.fault(when={"path": r"\$batch", "body": f"{QUEUE_ITEMS}\\({item}"}, times=2, do=[said_no])
    topic.publish_raw(b"sess-x", f"no plan: {EMAIL}".encode())
    env = writer_env(simulator, topic.bootstrap, WRITER_LOG_LEVEL="debug", WRITER_FLOW__MAX_PLANS_PER_REQUEST="1")
    writer = Service(module("writer"), env=env, output=tmp_path / "writer").start()
    try:
        topic.wait_for_committed(topic.published)
        [listening] = writer.events(event="endpoint.listening")
        root = f"http://127.0.0.1:{listening['port']}"
        shown = "".join(fetch(f"{root}/{path}") for path in ("metrics", "ready", "live"))
    finally:
        writer.stop()
    results = topic.read(topic.topics.writeback_results.name)
    rejected = topic.read(topic.topics.planned_writebacks_rejected.name)
    told = [*writer.lines(), shown, *(str(m.value()) + str(m.key()) + str(m.headers()) for m in results)]
    told += [str(m.key()) + str(m.headers()) for m in rejected]
    assert [line for line in told if any(canary in line for canary in CANARIES)] == []
    assert {r.status for r in topic.results()} == {ResultStatus.COMPLETED, ResultStatus.BLOCKED}
    assert len(rejected) == 1


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=HANGS_AFTER_S) as answer:
        return str(answer.read().decode())


def test_a_started_writer_is_ready_and_live_and_shows_its_figures(
    simulator: RunningSimulator, desk: Desk, topic: Topic, tmp_path: Path
) -> None:
    writer = Service(module("writer"), env=writer_env(simulator, topic.bootstrap), output=tmp_path / "writer")

    def ready(service: Service) -> bool:
        listening = service.events(event="endpoint.listening")
        try:
            return bool(listening) and '"ok": true' in fetch(f"http://127.0.0.1:{listening[0]['port']}/ready")
        except OSError:
            return False

    writer.start(ready)
    try:
        topic.publish(desk.plan(seed_item(simulator)))
        topic.wait_for_committed(1)
        root = f"http://127.0.0.1:{writer.events(event='endpoint.listening')[0]['port']}"
        assert '"ok": true' in fetch(f"{root}/live")
        figures = fetch(f"{root}/metrics")
        wait_until(lambda: "writeback_in_flight_plans 0.0" in fetch(f"{root}/metrics"), what="nothing in flight")
    finally:
        assert writer.stop() == 0
    for name in (
        "writeback_oldest_unsettled_plan_age_seconds", "writeback_outcomes_total", "writeback_requests_total",
        "writeback_in_flight_plans", "writeback_frontier_gap", "writeback_requeues_total",
        "writeback_token_expiry_timestamp_seconds", "writeback_first_blocked_since_start_timestamp_seconds",
    ):  # fmt: skip
        assert name in figures
