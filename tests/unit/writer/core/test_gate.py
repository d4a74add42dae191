"""W9: everything a plan names was verified, or nothing is written and every gap is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import (
    ActivityParties,
    ActivityParty,
    Caller,
    OwnerCandidate,
    OwnerKind,
    PartyKind,
    PlannedWriteback,
    PrecedingPlan,
    Value,
)
from tests.support.factories import an_id
from tests.unit.writer.core.crm_model import plan_for
from writer.core.gate import (
    OVERRIDE_UNVERIFIABLE,
    Blocked,
    Cleared,
    Column,
    ColumnType,
    Gap,
    Snapshot,
    Table,
    TimeBehavior,
    check,
    conformed,
    named,
    named_sets,
    normal,
)


def owner(name: str, *, override: bool = False) -> OwnerCandidate:
    return OwnerCandidate(
        kind=OwnerKind.USER,
        record_id=an_id(name),
        column="ownerid@odata.bind",
        value=f"/systemusers({an_id(name)})",
        override=override,
    )


ASKED_FOR, DEFAULT = owner("asked for", override=True), owner("default")
TEXT = Column(ColumnType.STRING, max_length=200)
STATE = Column(ColumnType.OPTION, valid_for_create=False, options=frozenset({0, 1, 2}))
LIMITS = {"medx_attemptcount": 100}
SNAPSHOT = Snapshot(
    {
        "phonecalls": Table(
            {"subject": TEXT, "medx_idempotencykey": TEXT, "statecode": STATE, "statuscode": STATE},
            {"regardingobjectid_account_phonecall@odata.bind": frozenset({"accounts"})},
        ),
        "medx_callqueueitems": Table(
            {
                "medx_callstatus": Column(ColumnType.OPTION, options=frozenset(range(5))),
                "medx_lastdisposition": TEXT,
                "medx_lastsessionid": TEXT,
                "medx_attemptcount": Column(ColumnType.INTEGER, minimum=0, maximum=100),
                "medx_lasterror": TEXT,
                "medx_donotcall": Column(ColumnType.BOOLEAN),
                "medx_notes": TEXT,
                "medx_nextattemptat": Column(ColumnType.TIME),
                "medx_score": Column(ColumnType.DECIMAL, minimum=0.5),
                "medx_rowid": Column(ColumnType.ID),
                "medx_picture": Column(ColumnType.OTHER),
            },
            {"medx_priority": frozenset()},
        ),
        "tasks": Table(
            {"subject": TEXT, "medx_idempotencykey": TEXT}, {"ownerid@odata.bind": frozenset({"systemusers", "teams"})}
        ),
    }
)
A_TIME = "a time from the year 1753 on"
FACTS = {ASKED_FOR.value: True, DEFAULT.value: True}


def a_plan(*owners: OwnerCandidate, step: int = 2, **attributes: Value) -> PlannedWriteback:
    plan = plan_for(1, 'W/"1"', task=True)
    steps = [
        replace(s, attributes={**s.attributes, **(attributes if s.step_index == step else {})},
                owner_candidates=owners if s.step_index == 3 else ())
        for s in plan.steps
    ]  # fmt: skip
    return replace(plan, steps=tuple(steps))


def without(entity_set: str, column: str | None = None) -> Snapshot:
    table = SNAPSHOT.tables[entity_set]
    tables = {name: kept for name, kept in SNAPSHOT.tables.items() if name != entity_set}
    if column is not None:
        kept = {name: c for name, c in table.columns.items() if name != column}
        tables[entity_set] = Table(kept, {name: t for name, t in table.links.items() if name != column})
    return Snapshot(tables)


def test_W9_a_plan_that_fits_is_cleared_with_its_owner() -> None:
    assert check(a_plan(DEFAULT), SNAPSHOT, FACTS) == Cleared({3: DEFAULT}, limits=LIMITS)


def test_W9_a_plan_without_owners_needs_none() -> None:
    assert check(a_plan(), SNAPSHOT, {}) == Cleared({}, limits=LIMITS)


def test_W9_the_sets_to_verify_are_those_the_plan_names() -> None:
    assert named_sets(a_plan()) == {"phonecalls", "medx_callqueueitems", "tasks"}


def test_W9_the_owner_asked_for_comes_first() -> None:
    assert check(a_plan(ASKED_FOR, DEFAULT), SNAPSHOT, FACTS) == Cleared({3: ASKED_FOR}, limits=LIMITS)


@pytest.mark.parametrize("facts", [{DEFAULT.value: True}, {DEFAULT.value: True, ASKED_FOR.value: False}])
def test_W9_an_owner_who_cannot_be_verified_is_replaced_by_the_default_with_a_warning(facts: dict[str, bool]) -> None:
    cleared = check(a_plan(ASKED_FOR, DEFAULT), SNAPSHOT, facts)

    assert isinstance(cleared, Cleared)
    assert cleared.owners == {3: DEFAULT}
    assert [warning.code for warning in cleared.warnings] == [OVERRIDE_UNVERIFIABLE]


def test_W9_a_disabled_default_is_replaced_without_a_warning() -> None:
    second = owner("second")

    assert check(a_plan(DEFAULT, second), SNAPSHOT, {second.value: True}) == Cleared({3: second}, limits=LIMITS)


def test_W9_no_valid_owner_at_all_blocks_before_anything_is_written() -> None:
    blocked = check(a_plan(ASKED_FOR, DEFAULT), SNAPSHOT, {})

    assert isinstance(blocked, Blocked)
    assert [gap.step_index for gap in blocked.gaps] == [3]


def test_W9_every_gap_is_named_at_once() -> None:
    snapshot = Snapshot({**without("tasks").tables, **without("medx_callqueueitems", "medx_lasterror").tables})
    snapshot = Snapshot({name: table for name, table in snapshot.tables.items() if name != "tasks"})

    blocked = check(a_plan(DEFAULT, medx_callstatus=9), snapshot, {})

    assert isinstance(blocked, Blocked)
    assert [str(gap) for gap in blocked.gaps] == [
        "step 2: medx_callqueueitems.medx_callstatus: one of the options [0, 1, 2, 3, 4]",
        "step 2: medx_callqueueitems.medx_lasterror: a column that exists",
        "step 3: tasks: a table that exists",
        "step 3: tasks: an owner who exists, is enabled and may own records",
    ]


@given(st.sampled_from([(s, c) for s, t in SNAPSHOT.tables.items() for c in t.columns]))
def test_W9_any_missing_column_that_is_named_blocks(missing: tuple[str, str]) -> None:
    plan = a_plan(DEFAULT)
    written = any(missing[1] in step.attributes for step in plan.steps if step.entity_set == missing[0])
    named = written or (missing[0] == "medx_callqueueitems" and missing[1] in plan.baseline.columns)

    assert isinstance(check(plan, without(*missing), FACTS), Blocked) == named


def test_W7_W9_a_preserved_column_that_is_gone_blocks_since_its_change_could_not_be_seen() -> None:
    blocked = check(a_plan(DEFAULT), without("medx_callqueueitems", "medx_notes"), FACTS)

    assert blocked == Blocked((Gap(2, "medx_callqueueitems", "medx_notes", "a column that exists"),))


def test_W9_a_missing_queue_item_table_is_one_gap() -> None:
    blocked = check(a_plan(DEFAULT), without("medx_callqueueitems"), FACTS)

    assert blocked == Blocked((Gap(2, "medx_callqueueitems", None, "a table that exists"),))


def test_W9_a_missing_owner_link_blocks() -> None:
    blocked = check(a_plan(DEFAULT), without("tasks", "ownerid@odata.bind"), FACTS)

    assert blocked == Blocked((Gap(3, "tasks", "ownerid@odata.bind", "a link that exists"),))


def test_W9_a_record_id_that_is_no_guid_blocks() -> None:
    plan = a_plan(DEFAULT)
    hostile = replace(plan, steps=(replace(plan.steps[0], record_id="1)/x"), *plan.steps[1:]))

    assert check(hostile, SNAPSHOT, FACTS) == Blocked((Gap(0, "phonecalls", None, "a record id that is a GUID"),))


BIND = "regardingobjectid_account_phonecall@odata.bind"


def verdict(step: int, name: str, value: Any) -> str | None:
    found = check(a_plan(DEFAULT, step=step, **{name: value}), SNAPSHOT, FACTS)
    return found.gaps[0].expected if isinstance(found, Blocked) else None


@pytest.mark.parametrize(
    ("step", "name", "value"),
    [
        (0, BIND, f"/accounts({an_id('a')})"), (0, BIND, f"accounts({an_id('a')})"), (0, BIND, None),
        (0, "subject", "x" * 200), (0, "subject", None), (2, "medx_callstatus", 4), (2, "medx_callstatus", None),
        (2, "medx_attemptcount", 100), (2, "medx_donotcall", True), (2, "medx_score", 0.5), (2, "medx_score", 7),
        (2, "medx_nextattemptat", "2026-11-20T12:00:00Z"), (2, "medx_nextattemptat", "2026-11-20"),
        (2, "medx_rowid", an_id("x")), (1, "statecode", 1),
    ],
)  # fmt: skip
def test_W9_values_that_fit_their_columns(step: int, name: str, value: Value) -> None:
    assert verdict(step, name, value) is None


@pytest.mark.parametrize(
    ("step", "name", "value", "expected"),
    [
        (0, BIND, f"/contacts({an_id('a')})", "a link to accounts"),
        (0, BIND, "accounts", "a link of the form /set(id)"),
        (0, BIND, 5, "a link of the form /set(id)"), (0, "nope", 1, "a column that exists"),
        (0, "statecode", 1, "a column that can be set on create"),
        (0, "subject", "x" * 201, "at most 200 characters"),
        (0, "subject", "\U0001f600" * 101, "at most 200 characters"),
        (0, "subject", 5, "a text column's value"),
        (2, "medx_callstatus", 5, "one of the options [0, 1, 2, 3, 4]"),
        (2, "medx_callstatus", True, "one of the options [0, 1, 2, 3, 4]"),
        (2, "medx_callstatus", "0", "one of the options [0, 1, 2, 3, 4]"),
        (2, "medx_attemptcount", -1, "a number from 0 to 100"), (2, "medx_attemptcount", 101, "a number from 0 to 100"),
        (2, "medx_attemptcount", 1.0, "an integer column's value"),
        (2, "medx_attemptcount", True, "an integer column's value"),
        (2, "medx_score", "1", "a number column's value"), (2, "medx_score", 0, "a number from 0.5 to None"),
        (2, "medx_donotcall", 1, "a boolean column's value"), (2, "medx_nextattemptat", "soon", A_TIME),
        (2, "medx_nextattemptat", "2026-99-20T12:00:00Z", A_TIME), (2, "medx_nextattemptat", 5, A_TIME),
        (2, "medx_rowid", "x", "a GUID"), (2, "medx_picture", "x", "a column of a type that can be written"),
    ],
)  # fmt: skip
def test_W9_values_that_do_not_fit_block(step: int, name: str, value: Value, expected: str) -> None:
    assert verdict(step, name, value) == expected


def test_W9_a_column_that_cannot_be_updated_blocks_an_update() -> None:
    columns = {
        **SNAPSHOT.tables["medx_callqueueitems"].columns,
        "medx_lasterror": replace(TEXT, valid_for_update=False),
    }
    tables = {**SNAPSHOT.tables, "medx_callqueueitems": Table(columns, {"medx_priority": frozenset()})}

    assert check(a_plan(DEFAULT), Snapshot(tables), FACTS) == Blocked(
        (Gap(2, "medx_callqueueitems", "medx_lasterror", "a column that can be set on update"),)
    )


def test_W9_an_option_column_without_known_options_takes_none() -> None:
    columns = {**SNAPSHOT.tables["medx_callqueueitems"].columns, "medx_callstatus": Column(ColumnType.OPTION)}
    tables = {**SNAPSHOT.tables, "medx_callqueueitems": Table(columns, {"medx_priority": frozenset()})}

    assert isinstance(check(a_plan(DEFAULT), Snapshot(tables), FACTS), Blocked)


def test_B1_a_gap_never_holds_a_value_of_the_plan() -> None:
    blocked = check(a_plan(DEFAULT, step=0, subject="Jane Doe +15305550101 " * 20), SNAPSHOT, FACTS)

    assert isinstance(blocked, Blocked)
    assert not any("Jane" in str(gap) or "555" in str(gap) for gap in blocked.gaps)


def on_create(column: Column) -> PlannedWriteback | list[str]:
    """A plan that writes text into this column of the phone call: its gaps, or the plan as it would be sent."""
    return with_column("phonecalls", 0, "medx_extra", column, "x")


def with_column(
    entity_set: str, step: int, name: str, column: Column, value: Value, **table: Any
) -> PlannedWriteback | list[str]:
    base = SNAPSHOT.tables[entity_set]
    changed = replace(base, columns={**base.columns, name: column}, **table)
    verdict = check(a_plan(step=step, **{name: value}), Snapshot({**SNAPSHOT.tables, entity_set: changed}), FACTS)
    if isinstance(verdict, Blocked):
        return [gap.expected for gap in verdict.gaps]
    assert verdict.plan is not None
    return verdict.plan


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (Column(ColumnType.STRING, computed=True), "a column that is not calculated or rolled up by the CRM"),
        (Column(ColumnType.STRING, valid_for_create=False), "a column that can be set on create"),
    ],
)
def test_W9_a_column_that_the_crm_does_not_let_anybody_write_is_a_gap(column: Column, expected: str) -> None:
    assert on_create(column) == [expected]


def test_W9_a_table_whose_rows_cannot_be_updated_under_an_etag_is_a_gap() -> None:
    found = with_column("medx_callqueueitems", 2, "medx_lasterror", TEXT, "x", optimistic_concurrency=False)

    assert isinstance(found, list)
    assert "optimistic concurrency" in found[0]
    assert not isinstance(with_column("phonecalls", 0, "x", TEXT, "x", optimistic_concurrency=False), list)


def test_W9_a_column_that_is_compared_must_be_there_and_readable() -> None:
    hidden = replace(TEXT, valid_for_read=False)
    base = SNAPSHOT.tables["medx_callqueueitems"]
    snapshot = {**SNAPSHOT.tables, "medx_callqueueitems": replace(base, columns={**base.columns, "medx_notes": hidden})}
    plan = a_plan()
    verdict = check(plan, Snapshot(snapshot), FACTS)

    assert verdict == Blocked((Gap(2, "medx_callqueueitems", "medx_notes", "a column that can be read"),))


@pytest.mark.parametrize(
    ("behavior", "sent"),
    [
        (TimeBehavior.USER_LOCAL, "2026-11-20T22:30:15Z"),
        (TimeBehavior.TIME_ZONE_INDEPENDENT, "2026-11-20T22:30:15Z"),
        (TimeBehavior.DATE_ONLY, "2026-11-20"),
    ],
)
def test_W9_a_time_is_sent_and_compared_in_the_form_that_its_column_keeps(behavior: TimeBehavior, sent: str) -> None:
    column = Column(ColumnType.TIME, behavior=behavior)
    found = with_column("medx_callqueueitems", 2, "medx_nextattemptat", column, "2026-11-20T23:30:15.987+01:00")

    assert isinstance(found, PlannedWriteback)
    assert found.steps[2].attributes["medx_nextattemptat"] == sent
    assert normal(column, sent) == sent
    assert normal(column, "2026-11-20T22:30:15Z") == sent


def test_W7_in_text_columns_an_empty_text_is_null_in_what_is_sent_and_in_what_is_compared() -> None:
    plan = a_plan(medx_lasterror="")
    plan = replace(
        plan,
        baseline=replace(plan.baseline, columns={**plan.baseline.columns, "medx_notes": ""}),
        preceding=(PrecedingPlan(session_id="before", columns={"medx_lasterror": "", "medx_priority": "/x(1)"}),),
    )
    verdict = check(plan, SNAPSHOT, FACTS)

    assert isinstance(verdict, Cleared)
    assert verdict.plan is not None
    assert verdict.plan.steps[2].attributes["medx_lasterror"] is None
    assert verdict.plan.baseline.columns["medx_notes"] is None
    assert verdict.plan.preceding[0].columns == {"medx_lasterror": None, "medx_priority": "/x(1)"}
    assert conformed(verdict.plan, SNAPSHOT) is verdict.plan
    assert normal(Column(ColumnType.ID), "") == ""


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00Z", "1752-12-31", "9999-12-31T23:59:59-14:00"])
def test_W9_a_time_that_the_crm_cannot_hold_is_a_gap_and_stays_as_it_is(value: str) -> None:
    column = Column(ColumnType.TIME)

    assert with_column("medx_callqueueitems", 2, "medx_nextattemptat", column, value) == [A_TIME]
    assert normal(column, value) == value


@given(st.datetimes(min_value=datetime(1800, 1, 1), max_value=datetime(9000, 1, 1)), st.sampled_from(TimeBehavior))
def test_W9_the_form_that_the_crm_keeps_is_kept(moment: datetime, behavior: TimeBehavior) -> None:
    column = Column(ColumnType.TIME, behavior=behavior)
    once = normal(column, f"{moment.isoformat()}Z")

    assert normal(column, once) == once


def test_W9_counters_and_the_do_not_call_column_are_verified_and_the_maximum_of_a_counter_is_known() -> None:
    plan = a_plan()
    steps = list(plan.steps)
    attributes = {n: v for n, v in steps[2].attributes.items() if n not in ("medx_attemptcount", "medx_donotcall")}
    steps[2] = replace(
        steps[2], attributes=attributes, increments={"medx_attemptcount": 1}, do_not_call_column="medx_donotcall"
    )
    counted = replace(plan, steps=tuple(steps))
    verdict = check(counted, SNAPSHOT, FACTS)
    assert isinstance(verdict, Cleared)
    assert verdict.limits == {"medx_attemptcount": 100}

    steps[2] = replace(steps[2], increments={"medx_notes": 1}, do_not_call_column="medx_gone")
    verdict = check(replace(plan, steps=tuple(steps)), SNAPSHOT, FACTS)
    assert isinstance(verdict, Blocked)
    assert {(gap.column, gap.expected) for gap in verdict.gaps} == {
        ("medx_notes", "a whole-number column that can be read, since it is counted up"),
        ("medx_gone", "a column that exists"),
    }  # fmt: skip


def test_W9_an_owner_of_a_kind_that_the_link_does_not_lead_to_is_none() -> None:
    asked = replace(owner("asked for", override=True), value=f"/accounts({an_id('asked for')})")
    verdict = check(a_plan(asked, DEFAULT), SNAPSHOT, {asked.value: True, DEFAULT.value: True})

    assert isinstance(verdict, Cleared)
    assert verdict.owners[3] == DEFAULT


@pytest.mark.parametrize(
    "column", [Column(ColumnType.DECIMAL), Column(ColumnType.STRING), Column(ColumnType.INTEGER, valid_for_read=False)]
)
def test_W9_what_is_counted_up_is_a_whole_number_that_can_be_read(column: Column) -> None:
    items = SNAPSHOT.tables["medx_callqueueitems"]
    changed = Table({**items.columns, "medx_attemptcount": column}, items.links)

    blocked = check(a_plan(), Snapshot({**SNAPSHOT.tables, "medx_callqueueitems": changed}), {})

    assert isinstance(blocked, Blocked)
    assert "a whole-number column that can be read, since it is counted up" in {gap.expected for gap in blocked.gaps}


def party(kind: PartyKind, table: str, entity_set: str) -> ActivityParty:
    return ActivityParty(
        kind=kind, record_id=an_id(table), participation=1, column=f"partyid_{table}@odata.bind",
        value=f"/{entity_set}({an_id(table)})",
    )  # fmt: skip


USER, QUEUE = party(PartyKind.USER, "systemuser", "systemusers"), party(PartyKind.QUEUE, "queue", "queues")
CUSTOMER = party(PartyKind.CUSTOMER, "account", "accounts")
CALLER = Caller(object_id=an_id("object").upper(), record_id=an_id("caller"), entity_set="systemusers")
CALLER_KEY = f"/systemusers({an_id('caller')}) as {an_id('object')}"
PEOPLE = {USER.value: True, QUEUE.value: True, CALLER_KEY: True}
PARTY_TABLE = Table(
    {},
    {each.column: frozenset({each.value[1:].partition("(")[0]}) for each in (USER, QUEUE, CUSTOMER)},
    {"phonecall_activity_parties": "phonecalls", "task_activity_parties": "tasks"},
)


def with_people(*members: ActivityParty, caller: Caller | None = None, **changes: str) -> PlannedWriteback:
    create, complete, *others = a_plan().steps
    names = {"collection": "phonecall_activity_parties", "entity_set": "activityparties", "id_column": "activityid"}
    parties = ActivityParties(**names | changes, members=members) if members else None
    create = replace(create, activity_parties=parties, caller=caller)
    return replace(a_plan(), steps=(create, replace(complete, caller=caller), *others))


def people_snapshot(activity_id: Column | None = None, parties: Table | None = PARTY_TABLE) -> Snapshot:
    calls = SNAPSHOT.tables["phonecalls"]
    own = calls.columns | {"activityid": activity_id or Column(ColumnType.ID)}
    tables = {**SNAPSHOT.tables, "phonecalls": replace(calls, columns=own)}
    return Snapshot(tables if parties is None else {**tables, "activityparties": parties})


def people_gaps(plan: PlannedWriteback, snapshot: Snapshot | None = None, facts: Any = None) -> list[str]:
    verdict = check(plan, snapshot or people_snapshot(), PEOPLE if facts is None else facts)
    return [] if isinstance(verdict, Cleared) else [str(gap) for gap in verdict.gaps]


def test_W9_parties_and_caller_that_are_as_the_plan_says_are_cleared() -> None:
    assert people_gaps(with_people(USER, QUEUE, CUSTOMER, caller=CALLER)) == []


def test_W9_everybody_whom_a_plan_names_is_looked_up_once_and_a_customer_is_not() -> None:
    plan = with_people(USER, QUEUE, CUSTOMER, caller=CALLER)
    assert {one.key for one in named(plan)} == PEOPLE.keys()
    assert len(named(plan)) == len(PEOPLE)
    assert named_sets(plan) == {"phonecalls", "medx_callqueueitems", "tasks", "activityparties"}


@pytest.mark.parametrize(
    ("plan", "snapshot", "gap"),
    [
        (with_people(USER), people_snapshot(parties=None), "step 0: activityparties: a table that exists"),
        (
            with_people(USER, collection="task_activity_parties"),
            people_snapshot(),
            "step 0: phonecalls.task_activity_parties: the collection that holds the parties of this kind of activity",
        ),
        (
            with_people(USER),
            people_snapshot(Column(ColumnType.ID, valid_for_create=False)),
            "step 0: phonecalls.activityid: an id that can be chosen on create",
        ),
        (
            with_people(USER, id_column="medx_gone"),
            people_snapshot(),
            "step 0: phonecalls.medx_gone: an id that can be chosen on create",
        ),
        (
            with_people(replace(CUSTOMER, column="partyid_medx_x@odata.bind")),
            people_snapshot(),
            "step 0: phonecalls.partyid_medx_x@odata.bind: a kind of record that can take part in an activity",
        ),
        (
            with_people(replace(CUSTOMER, value=f"/contacts({an_id('c')})")),
            people_snapshot(),
            "step 0: phonecalls.partyid_account@odata.bind: a link to accounts",
        ),
    ],
)
def test_W9_parties_are_verified_in_live_metadata(plan: PlannedWriteback, snapshot: Snapshot, gap: str) -> None:
    assert people_gaps(plan, snapshot) == [gap]


@pytest.mark.parametrize("facts", [{}, dict.fromkeys(PEOPLE, False)])
def test_W9_a_sender_or_caller_who_is_not_there_blocks_before_anything_is_written(facts: dict[str, bool]) -> None:
    assert people_gaps(with_people(USER, QUEUE, caller=CALLER), facts=facts) == [
        "step 0: phonecalls.CallerObjectId: a user who exists, is enabled and has this object id in the directory",
        "step 0: phonecalls.partyid_systemuser@odata.bind: a user who exists and is enabled",
        "step 0: phonecalls.partyid_queue@odata.bind: a queue that exists and is active",
    ]


def test_W9_parties_of_a_table_that_is_gone_are_named_by_the_table() -> None:
    gone = Snapshot({name: table for name, table in people_snapshot().tables.items() if name != "phonecalls"})
    assert [gap for gap in people_gaps(with_people(USER), gone) if "party" in gap] == []
