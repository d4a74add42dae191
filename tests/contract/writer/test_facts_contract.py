"""W9 against the simulator's metadata: what is asked for, how often, and what is made of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from schemas.records import (
    ActivityParties,
    ActivityParty,
    Caller,
    Disposition,
    OwnerCandidate,
    OwnerKind,
    PartyKind,
    PlannedWriteback,
)
from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.writer.kit import Desk, seed_item
from tests.unit.writer.core.crm_model import MemoryHistory
from writer.core.emission import get, reads
from writer.core.exchanges import Exchange
from writer.core.gate import Blocked, Cleared, ColumnType, TimeBehavior
from writer.core.pacing import Pacer, ServiceLimits
from writer.core.reconcile import changed_columns
from writer.core.replies import Judgement, Kind, Meaning
from writer.dataverse.client import DataverseClient
from writer.dataverse.identity import NoSignIn
from writer.dataverse.metadata_cache import MetadataCache
from writer.dataverse.pool import Channel, Pool
from writer.errors import MetadataUnavailable
from writer.metrics import Metrics
from writer.settings import DataverseSettings


class CountingPool(Pool):
    operations: list[str]

    async def exchange(self, *parts: Any, **options: Any) -> Exchange:
        self.operations.append(options["operation"])
        return await super().exchange(*parts, **options)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(auth="none") as simulator:
        yield simulator


@pytest.fixture
def plan(simulator: RunningSimulator) -> PlannedWriteback:
    return Desk(simulator).plan(seed_item(simulator), Disposition.CALL_BACK_LATER)


Scenario = Callable[[MetadataCache, CountingPool, Clock], Awaitable[None]]


def run(simulator: RunningSimulator, scenario: Scenario) -> None:
    async def bounded() -> None:
        settings = DataverseSettings.model_validate({"url": simulator.base_url})
        client = DataverseClient(settings, NoSignIn("nobody"))
        pool = CountingPool([Channel(client, Pacer(ServiceLimits()))], Metrics(), api_path="/api/data/v9.2/")
        pool.operations = []
        clock = Clock()
        try:
            await scenario(MetadataCache(pool, metadata_ttl_s=900, owner_ttl_s=300, clock=clock), pool, clock)
        finally:
            await pool.close()

    asyncio.run(bounded())


def test_a_plan_is_cleared_with_two_questions_for_tables_and_one_for_owners(
    simulator: RunningSimulator, plan: PlannedWriteback
) -> None:
    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        assert facts.cached_verdict(plan) is None
        verdict = await facts.verdict(plan)
        assert isinstance(verdict, Cleared)
        assert [owner.record_id for owner in verdict.owners.values()] == [tenant.CALLBACK_OWNER]
        assert pool.operations == ["metadata", "metadata", "owners"]
        assert facts.cached_verdict(plan) == verdict
        await facts.verdict(plan)
        assert len(pool.operations) == 3

    run(simulator, scenario)


def test_what_is_known_has_a_time_limit(simulator: RunningSimulator, plan: PlannedWriteback) -> None:
    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        await facts.verdict(plan)
        clock.now += 301
        assert facts.cached_verdict(plan) is None
        await facts.verdict(plan)
        assert pool.operations[3:] == ["owners"]
        clock.now += 900
        await facts.verdict(plan)
        assert pool.operations[4:] == ["metadata", "metadata", "owners"]

    run(simulator, scenario)


def test_plans_that_wait_for_the_same_facts_ask_once(simulator: RunningSimulator, plan: PlannedWriteback) -> None:
    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        await asyncio.gather(*(facts.verdict(plan) for _ in range(20)))
        assert pool.operations == ["metadata", "metadata", "owners"]

    run(simulator, scenario)


def test_W6_plans_that_wait_for_the_same_facts_fail_together(
    simulator: RunningSimulator, plan: PlannedWriteback
) -> None:
    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        told = await asyncio.gather(*(facts.verdict(plan) for _ in range(20)), return_exceptions=True)
        assert all(isinstance(one, MetadataUnavailable) for one in told)
        assert pool.operations == ["metadata"]

    simulator.fault(times=None, do=[{"kind": "error", "name": "unavailable"}])
    run(simulator, scenario)


def test_W9_a_block_is_never_decided_on_kept_answers_alone(simulator: RunningSimulator, plan: PlannedWriteback) -> None:
    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        simulator.edit("systemusers", tenant.CALLBACK_OWNER, {"isdisabled": True})
        assert isinstance(await facts.verdict(plan), Blocked)
        simulator.edit("systemusers", tenant.CALLBACK_OWNER, {"isdisabled": False})
        clock.now += 10
        assert isinstance(await facts.verdict(plan), Cleared)

    run(simulator, scenario)


def test_W9_a_suspicion_asks_for_everything_anew(simulator: RunningSimulator, plan: PlannedWriteback) -> None:
    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        await facts.verdict(plan)
        clock.now += 10
        simulator.edit("systemusers", tenant.CALLBACK_OWNER, {"isdisabled": True})
        assert isinstance(facts.cached_verdict(plan), Cleared)
        assert isinstance(await facts.verdict(plan, suspect=True), Blocked)

    run(simulator, scenario)


def test_W9_a_table_that_does_not_exist_is_a_gap(simulator: RunningSimulator, plan: PlannedWriteback) -> None:
    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        wrong = replace(plan, steps=tuple(replace(step, entity_set="nowhere") for step in plan.steps))
        verdict = await facts.verdict(wrong)
        assert isinstance(verdict, Blocked)
        assert {gap.expected for gap in verdict.gaps} == {"a table that exists"}

    run(simulator, scenario)


def test_what_metadata_says_of_columns_and_links(simulator: RunningSimulator, plan: PlannedWriteback) -> None:
    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        await facts.verdict(plan)
        kept = {name: kept.facts.table for name, kept in facts._tables.items() if kept.facts}
        call, item = kept["phonecalls"], kept["medx_callqueueitems"]
        assert call.columns["subject"].max_length == 200
        assert call.columns["statuscode"].options == frozenset({1, 2, 3, 4})
        assert not call.columns["statecode"].valid_for_create
        assert call.columns["directioncode"].type is ColumnType.BOOLEAN
        assert call.columns["actualstart"].type is ColumnType.TIME
        assert item.columns["medx_callstatus"].options == frozenset(range(5))
        assert item.columns["medx_priority"].maximum == 100
        assert call.links["regardingobjectid_account_phonecall@odata.bind"] == {"accounts"}
        assert call.links["ownerid@odata.bind"] == {"systemusers", "teams"}
        assert (
            facts.read_property_of("phonecalls")["regardingobjectid_account_phonecall@odata.bind"]
            == "_regardingobjectid_value"
        )

    run(simulator, scenario)


def test_teams_and_users_that_are_not_there_or_no_ids_are_no_owners(
    simulator: RunningSimulator, plan: PlannedWriteback
) -> None:
    def owner(kind: OwnerKind, entity_set: str, record_id: str) -> OwnerCandidate:
        return OwnerCandidate(
            kind=kind,
            record_id=record_id,
            column="ownerid@odata.bind",
            value=f"/{entity_set}({record_id})",
            override=True,
        )

    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        candidates = (
            owner(OwnerKind.USER, "systemusers", "no id at all"),
            owner(OwnerKind.USER, "systemusers", tenant.ACCOUNTS[0]),
            owner(OwnerKind.TEAM, "teams", tenant.ACCOUNTS[0]),
            owner(OwnerKind.TEAM, "teams", tenant.TEAM),
        )
        steps = (*plan.steps[:-1], replace(plan.steps[-1], owner_candidates=candidates))
        verdict = await facts.verdict(replace(plan, steps=steps))
        assert isinstance(verdict, Cleared)
        assert [chosen.record_id for chosen in verdict.owners.values()] == [tenant.TEAM]

    run(simulator, scenario)


def test_records_are_read_in_the_plans_own_words(simulator: RunningSimulator, plan: PlannedWriteback) -> None:
    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        await facts.verdict(plan)
        update = plan.steps[2]
        columns = (*update.attributes, "medx_AccountId@odata.bind")
        wanted = [replace(read, columns=columns) for read in reads(plan) if read.step_index == 2]
        exchange = await pool.exchange(
            [get(read, facts.read_property_of(read.entity_set)) for read in wanted], operation="read"
        )
        seen = facts.observed(wanted[0], update.attributes, exchange.parts[0])
        assert seen is not None
        assert seen.etag == plan.baseline.etag
        assert seen.columns["medx_AccountId@odata.bind"] == f"/accounts({tenant.ACCOUNTS[0]})"
        assert seen.columns["medx_callstatus"] == 1
        call = next(read for read in reads(plan) if read.step_index == 0)
        gone = await pool.exchange([get(call, facts.read_property_of(call.entity_set))], operation="read")
        assert facts.observed(call, plan.steps[0].attributes, gone.parts[0]) is None

    run(simulator, scenario)


async def conflicts(facts: MetadataCache, pool: CountingPool, plan: PlannedWriteback) -> tuple[str, ...]:
    """The columns that a read-back finds changed."""
    await facts.verdict(plan)
    [read] = [read for read in reads(plan) if read.step_index == 2]
    exchange = await pool.exchange([get(read, facts.read_property_of(read.entity_set))], operation="read")
    row = facts.observed(read, plan.steps[2].attributes, exchange.parts[0])
    assert row is not None
    return changed_columns(plan, row, MemoryHistory())


@pytest.mark.parametrize("written_as", ["{}", "/accounts({})"])
def test_W7_a_preserved_lookup_is_compared_by_its_id(
    simulator: RunningSimulator, plan: PlannedWriteback, written_as: str
) -> None:
    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        account = written_as.format(tenant.ACCOUNTS[0].upper())
        preserving = {**plan.baseline.columns, "medx_accountid": account, "medx_campaignid": None}
        taken = replace(plan, baseline=replace(plan.baseline, columns=preserving))
        simulator.edit("medx_callqueueitems", plan.queue_item_id, {"medx_name": "no business of ours"})
        assert await conflicts(facts, pool, taken) == ()
        moved = {"medx_AccountId@odata.bind": f"/accounts({tenant.ACCOUNTS[1]})"}
        simulator.edit("medx_callqueueitems", plan.queue_item_id, moved)
        assert await conflicts(facts, pool, taken) == ("medx_accountid",)

    run(simulator, scenario)


def with_owner(plan: PlannedWriteback, owner: str) -> PlannedWriteback:
    """The same plan with a task for somebody else."""
    *others, task = plan.steps
    candidate = replace(task.owner_candidates[-1], record_id=owner, value=f"/systemusers({owner})")
    return replace(plan, steps=(*others, replace(task, owner_candidates=(candidate,))))


def test_W5_an_owner_who_cannot_be_read_holds_up_only_the_plans_that_need_him(
    simulator: RunningSimulator, plan: PlannedWriteback
) -> None:
    others = with_owner(plan, tenant.REVIEW_OWNER)
    do = [{"kind": "error", "name": "unavailable"}]
    simulator.fault(when={"path": r"\$batch", "body": tenant.REVIEW_OWNER}, times=None, do=do)

    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        told = await asyncio.gather(
            facts.verdict(others), facts.verdict(plan), facts.verdict(others), return_exceptions=True
        )
        assert [type(one) for one in told] == [MetadataUnavailable, Cleared, MetadataUnavailable]
        assert isinstance(facts.cached_verdict(plan), Cleared)

    run(simulator, scenario)


def test_W5_an_owner_who_is_read_slowly_holds_up_only_the_plans_that_need_him(
    simulator: RunningSimulator, plan: PlannedWriteback
) -> None:
    others = with_owner(plan, tenant.REVIEW_OWNER)

    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        await facts.verdict(plan)
        clock.now += 301  # the owners have to be asked for again, the tables have not
        answered, ask = asyncio.Event(), pool.exchange

        async def slow(parts: Any, **options: Any) -> Exchange:
            if any(tenant.REVIEW_OWNER in getattr(part, "path", "") for part in parts):
                await answered.wait()
            return await ask(parts, **options)

        pool.exchange = slow  # type: ignore[method-assign]
        waiting = asyncio.create_task(facts.verdict(others))
        await asyncio.sleep(0)
        assert isinstance(await facts.verdict(plan), Cleared)
        assert not waiting.done()
        answered.set()
        assert isinstance(await waiting, Cleared)

    run(simulator, scenario)


def test_W5_a_table_that_cannot_be_read_holds_up_only_the_plans_that_need_it(
    simulator: RunningSimulator, plan: PlannedWriteback
) -> None:
    without_task = replace(plan, steps=plan.steps[:3])

    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        ask = pool.exchange

        async def refused(parts: Any, **options: Any) -> Exchange:
            exchange = await ask(parts, **options)
            if options["operation"] != "metadata" or len(parts) == 1:
                return exchange
            denied = Judgement(Kind.PERMANENT, Meaning.NOT_ALLOWED, 403, "0x80040220", by_the_crm=True)
            replies = tuple(
                replace(reply, judgement=denied, answer=None) if "='task'" in part.path else reply
                for part, reply in zip(parts, exchange.parts, strict=True)
            )
            return replace(exchange, parts=replies)

        pool.exchange = refused  # type: ignore[method-assign]
        told = await asyncio.gather(facts.verdict(plan), facts.verdict(without_task), return_exceptions=True)
        assert isinstance(told[0], MetadataUnavailable)
        assert told[0].judgement.meaning is Meaning.NOT_ALLOWED
        assert isinstance(told[1], Cleared)

    run(simulator, scenario)


def test_who_waited_for_a_question_that_was_cancelled_asks_itself(
    simulator: RunningSimulator, plan: PlannedWriteback
) -> None:
    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        first = asyncio.create_task(facts.verdict(plan))
        await asyncio.sleep(0)
        second = asyncio.create_task(facts.verdict(plan))
        await asyncio.sleep(0)
        first.cancel()
        assert isinstance(await second, Cleared)

    run(simulator, scenario)


def test_W9_an_access_team_owns_nothing(simulator: RunningSimulator, plan: PlannedWriteback) -> None:
    *others, task = plan.steps
    team = OwnerCandidate(
        kind=OwnerKind.TEAM, record_id=tenant.TEAM, column="ownerid@odata.bind", value=f"/teams({tenant.TEAM})",
        override=False,
    )  # fmt: skip
    owned = replace(plan, steps=(*others, replace(task, owner_candidates=(team,))))

    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        assert isinstance(await facts.verdict(owned), Cleared)
        simulator.edit("teams", tenant.TEAM, {"teamtype": 1})
        clock.now += 301
        assert isinstance(await facts.verdict(owned), Blocked)

    run(simulator, scenario)


def test_W9_metadata_tells_of_behavior_security_and_source(simulator: RunningSimulator, plan: PlannedWriteback) -> None:
    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        snapshot, _ = await facts.survey({"phonecalls", "medx_callqueueitems", "nosuchset"}, ())
        assert set(snapshot.tables) == {"phonecalls", "medx_callqueueitems"}
        calls = snapshot.tables["phonecalls"]
        assert calls.logical_name == "phonecall"
        assert calls.optimistic_concurrency
        assert calls.columns["actualstart"].behavior is TimeBehavior.USER_LOCAL
        assert not calls.columns["subject"].secured
        assert not calls.columns["subject"].computed

    run(simulator, scenario)


def party(kind: PartyKind, table: str, value: str) -> ActivityParty:
    return ActivityParty(
        kind=kind, record_id=value, participation=1, column=f"partyid_{table}@odata.bind", value=value
    )  # fmt: skip


QUEUE = party(PartyKind.QUEUE, "queue", f"/queues({tenant.QUEUE})")
USER = party(PartyKind.USER, "systemuser", f"/systemusers({tenant.PERSON})")
DISABLED = party(PartyKind.USER, "systemuser", f"/systemusers({tenant.DISABLED_USER})")
NO_QUEUE = party(PartyKind.QUEUE, "queue", f"/queues({tenant.TEAM})")
CONTACT = party(PartyKind.CUSTOMER, "contact", f"/contacts({tenant.CONTACT})")
CAMPAIGN = party(PartyKind.CUSTOMER, "campaign", f"/campaigns({tenant.CAMPAIGN})")
PERSON = Caller(object_id=tenant.PERSON_OBJECT_ID, record_id=tenant.PERSON, entity_set="systemusers")


def with_people(plan: PlannedWriteback, *members: ActivityParty, caller: Caller | None = None) -> PlannedWriteback:
    parties = ActivityParties(
        collection="phonecall_activity_parties", entity_set="activityparties", id_column="activityid", members=members
    )
    create, *others = plan.steps
    return replace(plan, steps=(replace(create, activity_parties=parties, caller=caller), *others))


@pytest.mark.parametrize(
    ("members", "caller", "missing"),
    [
        ((USER, CONTACT), PERSON, []),
        ((QUEUE,), replace(PERSON, object_id=PERSON.object_id.upper()), []),
        ((DISABLED,), PERSON, ["partyid_systemuser@odata.bind"]),
        ((NO_QUEUE, CONTACT), None, ["partyid_queue@odata.bind"]),
        ((CAMPAIGN,), None, ["partyid_campaign@odata.bind"]),
        ((QUEUE,), replace(PERSON, object_id=tenant.PERSON), ["CallerObjectId"]),
        ((QUEUE,), replace(PERSON, record_id=tenant.TEAM), ["CallerObjectId"]),
    ],
    ids=[
        "a user and a contact", "a queue", "a disabled user", "no such queue", "no party of that kind",
        "another user of the directory", "no such user",
    ],
)  # fmt: skip
def test_W9_people_whom_a_plan_names_are_looked_up_in_dataverse(
    simulator: RunningSimulator,
    plan: PlannedWriteback,
    members: tuple[ActivityParty, ...],
    caller: Caller | None,
    missing: list[str],
) -> None:
    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        verdict = await facts.verdict(with_people(plan, *members, caller=caller))
        assert [gap.column for gap in verdict.gaps] == missing if isinstance(verdict, Blocked) else missing == []

    run(simulator, scenario)


def test_W9_a_queue_that_was_deactivated_places_no_calls(simulator: RunningSimulator, plan: PlannedWriteback) -> None:
    async def scenario(facts: MetadataCache, pool: CountingPool, clock: Clock) -> None:
        assert isinstance(await facts.verdict(with_people(plan, QUEUE)), Cleared)
        simulator.edit("queues", tenant.QUEUE, {"statecode": 1, "statuscode": 2})
        clock.now += 301
        assert isinstance(await facts.verdict(with_people(plan, QUEUE)), Blocked)

    run(simulator, scenario)
