"""The faults of the ancestor that show only between the writer's own HTTP and a simulated CRM, by their numbers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.records import BlockReason, Disposition, PlannedWriteback, ResultStatus
from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.writer.kit import Desk, seed_item
from tests.support.factories import NOON
from tests.unit.writer.workbench import attempt, make_in_flight, telling
from writer.core.attempt import Decided, RetryLater, Verdict
from writer.core.gate import Blocked, Cleared
from writer.core.pacing import Pacer, ServiceLimits
from writer.core.results import metadata
from writer.dataverse.client import DataverseClient
from writer.dataverse.identity import NoSignIn, TokenSource
from writer.dataverse.metadata import questions
from writer.dataverse.metadata_cache import MetadataCache
from writer.dataverse.pool import Channel, Pool
from writer.metrics import Metrics
from writer.settings import DataverseSettings


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(auth="none") as simulator:
        yield simulator


@pytest.fixture
def desk(simulator: RunningSimulator) -> Desk:
    return Desk(simulator)


class OneTokenAfterTheOther:
    """Counts how often it was asked for another token than the one that was refused."""

    name, expires_at, credential_expires_at = "counted", None, None

    def __init__(self) -> None:
        self.renewals = 0

    async def token(self) -> str | None:
        return f"token-{self.renewals}"

    async def renewed(self, rejected: str | None) -> str | None:
        assert rejected == f"token-{self.renewals}"
        self.renewals += 1
        return await self.token()

    def close(self) -> None: ...


def emitted(
    simulator: RunningSimulator, plan: PlannedWriteback, *, tries: int = 1, tokens: TokenSource | None = None
) -> Verdict:
    """The gate, then up to `tries` attempts, as the service would; without broker, lanes and waiting."""

    async def run() -> Verdict:
        settings = DataverseSettings.model_validate({"url": simulator.base_url, "read_timeout_s": 60})
        client = DataverseClient(settings, tokens or NoSignIn("nobody"))
        pool = Pool([Channel(client, Pacer(ServiceLimits()))], Metrics(), api_path="/api/data/v9.2/")
        facts = MetadataCache(pool, metadata_ttl_s=60, owner_ttl_s=60)
        one = make_in_flight(plan)
        try:
            for _ in range(tries):
                verdict = await facts.verdict(plan)
                if isinstance(verdict, Blocked):
                    return Decided(metadata(telling(one), verdict.gaps))
                one.cleared = verdict
                attempted = await attempt(pool, facts, one)
                if isinstance(attempted, Decided):
                    break
            return attempted
        finally:
            await pool.close()

    return asyncio.run(run())


def writes(simulator: RunningSimulator) -> int:
    return len(simulator.rows("phonecalls")) + len(simulator.rows("tasks"))


def test_fault_07_option_sets_are_asked_for_with_expand_and_known(simulator: RunningSimulator, desk: Desk) -> None:
    assert [q.path for q in questions("t") if "$expand=OptionSet" in q.path and "Picklist" in q.path]
    plan = desk.plan(seed_item(simulator))
    steps = [
        replace(s, attributes={**s.attributes, "medx_callstatus": 77}) if "medx_callstatus" in s.attributes else s
        for s in plan.steps
    ]

    verdict = emitted(simulator, replace(plan, steps=tuple(steps)))

    assert isinstance(verdict, Decided)
    assert verdict.result.block_reason is BlockReason.METADATA
    assert "medx_callstatus: one of the options [0, 1, 2, 3, 4]" in str(verdict.result.message)


def test_fault_09_without_a_valid_owner_nothing_at_all_is_written(simulator: RunningSimulator, desk: Desk) -> None:
    plan = desk.plan(seed_item(simulator), Disposition.CALL_BACK_LATER)
    disabled = [
        replace(s, owner_candidates=tuple(replace(o, value=f"/systemusers({tenant.DISABLED_USER})")
                                          for o in s.owner_candidates))
        for s in plan.steps
    ]  # fmt: skip

    verdict = emitted(simulator, replace(plan, steps=tuple(disabled)))

    assert isinstance(verdict, Decided)
    assert verdict.result.block_reason is BlockReason.METADATA
    assert writes(simulator) == 0
    assert desk.row(plan.queue_item_id)["medx_lastsessionid"] is None


def test_fault_10_a_business_rule_that_says_no_is_blocked(simulator: RunningSimulator, desk: Desk) -> None:
    plan = desk.plan(seed_item(simulator))
    simulator.fault(
        when={"scope": "operation", "method": "PATCH", "path": "medx_callqueueitems"},
        times=None,
        do=[{"kind": "error", "name": "plugin"}],
    )

    verdict = emitted(simulator, plan)

    assert isinstance(verdict, Decided)
    assert (verdict.result.status, verdict.result.block_reason) == (ResultStatus.BLOCKED, BlockReason.PERMANENT_OTHER)
    assert writes(simulator) == 0, "the change set was rolled back"


def test_fault_13_activities_and_tasks_are_linked_and_carry_the_phone_number(
    simulator: RunningSimulator, desk: Desk
) -> None:
    plan = desk.plan(seed_item(simulator), Disposition.CALL_BACK_LATER)

    assert isinstance(emitted(simulator, plan), Decided)

    [call], [task] = simulator.rows("phonecalls"), simulator.rows("tasks")
    assert call["phonenumber"] == "+15305550123"
    assert str(tenant.ACCOUNTS[0]) in str(call)
    assert str(tenant.ACCOUNTS[0]) in str(task)


def test_fault_15_a_last_error_that_is_over_is_cleared_in_the_crm(simulator: RunningSimulator, desk: Desk) -> None:
    plan = desk.plan(seed_item(simulator, medx_lasterror="non_e164_phone:bad"))

    assert isinstance(emitted(simulator, plan), Decided)

    assert desk.row(plan.queue_item_id)["medx_lasterror"] is None


@pytest.mark.parametrize("moment", ["before", "applied", "during"])
def test_fault_17_with_01_and_02_a_connection_cut_anywhere_ends_landed_once(
    simulator: RunningSimulator, desk: Desk, moment: str
) -> None:
    plan = desk.plan(seed_item(simulator), Disposition.CALL_BACK_LATER)
    simulator.fault(when={"path": "batch", "body": "PATCH"}, do=[{"kind": "cut", "moment": moment}])

    verdict = emitted(simulator, plan, tries=3)

    assert isinstance(verdict, Decided), verdict
    assert verdict.result.status is ResultStatus.COMPLETED
    assert writes(simulator) == 2
    assert desk.row(plan.queue_item_id)["medx_attemptcount"] == 1


def test_fault_11_every_attempt_is_verified_anew(simulator: RunningSimulator, desk: Desk) -> None:
    plan = desk.plan(seed_item(simulator), Disposition.CALL_BACK_LATER)
    simulator.fault(when={"path": "batch", "body": "PATCH"}, times=1, do=[{"kind": "error", "name": "unavailable"}])
    assert isinstance(emitted(simulator, plan), RetryLater)
    owners = {o.value.strip("/") for s in plan.steps for o in s.owner_candidates}
    for owner in owners:
        simulator.edit("systemusers", owner.partition("(")[2].rstrip(")"), {"isdisabled": True})

    verdict = emitted(simulator, plan)

    assert isinstance(verdict, Decided)
    assert verdict.result.block_reason is BlockReason.METADATA
    assert writes(simulator) == 0


@pytest.mark.parametrize("aged", [59.0, 61.0])
def test_fault_11_what_is_known_of_an_owner_expires(simulator: RunningSimulator, desk: Desk, aged: float) -> None:
    """An owner who was disabled while the writer ran is found out once the answer is too old, and not before."""
    plan = desk.plan(seed_item(simulator), Disposition.CALL_BACK_LATER)
    now = 0.0

    async def run() -> tuple[object, object]:
        nonlocal now
        settings = DataverseSettings.model_validate({"url": simulator.base_url, "read_timeout_s": 30})
        client = DataverseClient(settings, NoSignIn("nobody"))
        pool = Pool([Channel(client, Pacer(ServiceLimits()))], Metrics(), api_path="/api/data/v9.2/")
        facts = MetadataCache(pool, metadata_ttl_s=3_600, owner_ttl_s=60, clock=lambda: now)
        try:
            assert isinstance(await facts.verdict(plan), Cleared)
            for owner in {o.record_id for s in plan.steps for o in s.owner_candidates}:
                simulator.edit("systemusers", owner, {"isdisabled": True})
            now = aged
            return facts.cached_verdict(plan), await facts.verdict(plan)
        finally:
            await pool.close()

    cached, asked = asyncio.run(run())

    known = aged < 60
    assert isinstance(cached, Cleared) is known
    assert isinstance(asked, Cleared if known else Blocked)


def test_fault_17_a_401_costs_one_new_token_and_no_plan(simulator: RunningSimulator, desk: Desk) -> None:
    plan = desk.plan(seed_item(simulator), Disposition.CALL_BACK_LATER)
    tokens = OneTokenAfterTheOther()
    simulator.fault(when={"path": "batch", "body": "PATCH"}, times=1, do=[{"kind": "error", "name": "unauthorized"}])

    verdict = emitted(simulator, plan, tokens=tokens)

    assert isinstance(verdict, Decided), verdict
    assert verdict.result.status is ResultStatus.COMPLETED
    assert tokens.renewals == 1
    assert writes(simulator) == 2


def test_fault_18_a_queue_item_that_was_deleted_is_not_created_again(simulator: RunningSimulator, desk: Desk) -> None:
    plan = desk.plan(seed_item(simulator))
    simulator.edit("medx_callqueueitems", plan.queue_item_id, None)

    verdict = emitted(simulator, plan)

    assert isinstance(verdict, Decided)
    assert verdict.result.block_reason is BlockReason.CONFLICT_DETECTED
    assert simulator.rows("medx_callqueueitems") == []


def test_W2_one_session_used_for_two_queue_items_blocks_the_second(simulator: RunningSimulator, desk: Desk) -> None:
    session = f"sess-{uuid.uuid4().hex}"
    second_account = {"medx_AccountId@odata.bind": f"/accounts({tenant.ACCOUNTS[1]})"}
    first, second = seed_item(simulator), seed_item(simulator, **second_account)
    at_the_same_time = {"session_id": session, "ended_at": NOON + timedelta(hours=1)}
    assert isinstance(emitted(simulator, desk.plan(first, **at_the_same_time)), Decided)

    other = desk.plan(second, phone_number="+15305550142", **at_the_same_time)
    verdict = emitted(simulator, other)

    assert isinstance(verdict, Decided)
    assert verdict.result.block_reason is BlockReason.PERMANENT_OTHER
    assert desk.row(second)["medx_lastsessionid"] is None
