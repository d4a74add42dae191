"""What Prometheus is told from the start: a counter that comes into being with 1 is no increase."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import Counter, generate_latest

from schemas.records import BlockReason, ResultStatus
from writer.core.refusals import UNVERIFIABLE
from writer.core.replies import Kind
from writer.core.sign_in import SignInTrouble
from writer.metrics import OPERATIONS, Metrics


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics(version="1.2.3", mode="write")
    metrics.expect("client_secret-0")
    return metrics


def counters(metrics: Metrics) -> Iterator[Counter]:
    return (each for each in vars(metrics).values() if isinstance(each, Counter))


def test_every_counter_has_a_series_with_0_from_the_start(metrics: Metrics) -> None:
    for counter in counters(metrics):
        [family] = counter.collect()
        totals = [sample.value for sample in family.samples if sample.name.endswith("_total")]
        assert set(totals) == {0.0}, family.name


def test_every_status_reason_cause_and_kind_has_a_series_with_0_from_the_start(metrics: Metrics) -> None:
    text = generate_latest(metrics.registry).decode()
    for status in ResultStatus:
        assert f'writeback_outcomes_total{{reason="",status="{status}"}} 0.0' in text
    for reason in BlockReason:
        assert f'writeback_outcomes_total{{reason="{reason}",status="blocked"}} 0.0' in text
    for reason in (*BlockReason, UNVERIFIABLE):
        assert f'writeback_held_plans{{reason="{reason}"}} 0.0' in text
    for operation in OPERATIONS:
        for kind in Kind:
            assert f'writeback_requests_total{{class="{kind}",operation="{operation}"}} 0.0' in text
    for cause in SignInTrouble:
        assert f'writeback_sign_in_failures_total{{cause="{cause}",code="",identity="client_secret-0"}} 0.0' in text
    for what in ("assigned", "released", "lost"):
        assert f'writeback_rebalances_total{{what="{what}"}} 0.0' in text


@pytest.mark.parametrize(
    "series",
    [
        'writeback_sign_in_failures_total{cause="secret_expired",code="AADSTS7000222",identity="client_secret-0"}',
        'writeback_commit_failures_total{code="STALE_MEMBER_EPOCH"}',
        'writeback_commit_failures_total{code="_FENCED"}',
        'writeback_commit_failures_total{code="_MSG_TIMED_OUT"}',
        'writeback_commit_failures_total{code="MSG_SIZE_TOO_LARGE"}',
        'writeback_broker_waits_total{code="_TRANSPORT"}',
        'writeback_broker_waits_total{code="_TIMED_OUT"}',
    ],
)
def test_every_code_that_is_known_has_a_series_with_0_from_the_start(metrics: Metrics, series: str) -> None:
    assert f"{series} 0.0" in generate_latest(metrics.registry).decode()


@pytest.mark.parametrize("mode", ["write", "dry run"])
def test_process_and_build_are_said_with_the_mode(mode: str) -> None:
    text = generate_latest(Metrics(version="1.2.3", mode=mode).registry).decode()
    assert f'writeback_build_info{{mode="{mode}",service="writer",version="1.2.3"}} 1.0' in text
    for name in ("process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"):
        assert f"\n{name} " in text
