"""W9: everything that the mapping names is verified before any plan needs it, and every gap is named at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from schemas.records import ActivityParties, ActivityParty, Caller, OwnerCandidate, OwnerKind, PartyKind
from tests.support.factories import an_id
from writer.core.gate import Column, ColumnType, Snapshot, Table
from writer.core.mapping_check import (
    MappedColumn,
    MappedOption,
    MappedTable,
    MappedValue,
    MappingToCheck,
    environment_mark,
    gaps_of,
    is_of,
    notices_of,
)

TEXT = Column(ColumnType.STRING, max_length=200)
STATE = Column(ColumnType.OPTION, valid_for_create=False, options=frozenset({0, 1}))
ITEMS, CALLS = "medx_callqueueitems", "phonecalls"
LINK = "regardingobjectid_account_phonecall@odata.bind"
OWNER = OwnerCandidate(
    kind=OwnerKind.USER, record_id=an_id("owner"), column="ownerid@odata.bind", value="/systemusers(1)", override=False
)
MAPPING = MappingToCheck(
    environment_mark("https://example.crm.dynamics.com"),
    {
        "queue_item": MappedTable("medx_callqueueitem", ITEMS, "medx_callqueueitemid"),
        "phone_call": MappedTable("phonecall", CALLS, "activityid"),
        "account": MappedTable("account", "accounts", "accountid"),
    },
    {
        "queue.status": MappedColumn("queue_item", "medx_callstatus", "optionset", written=True),
        "queue.timezone": MappedColumn("queue_item", "medx_timezone", "string", written=False),
        "phone_call.subject": MappedColumn("phone_call", "subject", "string", written=True, max_length=200),
        "phone_call.state": MappedColumn("phone_call", "statecode", "optionset", written=True),
        "phone_call.regarding": MappedColumn("phone_call", "regardingobjectid", "lookup", True, LINK, "account"),
    },
    {
        "queue_status.ready": MappedOption("queue.status", 0),
        "phone_call_state.completed": MappedOption("phone_call.state", 1),
    },
    {"callback": OWNER},
    ("medx_notes",),
)
SNAPSHOT = Snapshot(
    {
        ITEMS: Table(
            {
                "medx_callqueueitemid": Column(ColumnType.ID),
                "medx_callstatus": Column(ColumnType.OPTION, options=frozenset({0, 1, 2})),
                "medx_timezone": replace(TEXT, valid_for_update=False),
                "medx_notes": TEXT,
            },
            logical_name="medx_callqueueitem",
        ),
        CALLS: Table(
            {
                "activityid": Column(ColumnType.ID),
                "subject": TEXT,
                "statecode": STATE,
                "regardingobjectid": Column(ColumnType.OTHER),
            },
            {LINK: frozenset({"accounts"})},
            logical_name="phonecall",
        ),
        "accounts": Table({"accountid": Column(ColumnType.ID)}, logical_name="account"),
    }
)
FACTS = {OWNER.value: True}


def found(snapshot: Snapshot = SNAPSHOT, mapping: MappingToCheck = MAPPING) -> list[str]:
    return [str(gap) for gap in gaps_of(mapping, snapshot, FACTS)]


def changed(entity_set: str, change: Callable[[Table], Table]) -> Snapshot:
    return Snapshot({**SNAPSHOT.tables, entity_set: change(SNAPSHOT.tables[entity_set])})


def with_column(entity_set: str, name: str, column: Column | None) -> Snapshot:
    def change(table: Table) -> Table:
        columns = {n: c for n, c in table.columns.items() if n != name}
        return replace(table, columns=columns | ({name: column} if column else {}))

    return changed(entity_set, change)


def test_a_mapping_that_fits_has_no_gap() -> None:
    assert found() == []
    assert notices_of(MAPPING, SNAPSHOT) == ()


@pytest.mark.parametrize(
    ("snapshot", "gap"),
    [
        (with_column(ITEMS, "medx_callqueueitemid", None), "entities.queue_item: the table has no column medx_callq"),
        (changed(CALLS, lambda t: replace(t, logical_name="call")), "entities.phone_call: the table of phonecalls is"),
        (changed(ITEMS, lambda t: replace(t, optimistic_concurrency=False)), "entities.queue_item: turn optimistic"),
        (with_column(CALLS, "subject", None), "fields.phone_call.subject: the table has no column subject"),
        (with_column(CALLS, "subject", Column(ColumnType.INTEGER)), "fields.phone_call.subject: subject is of"),
        (with_column(CALLS, "subject", replace(TEXT, valid_for_read=False)), "fields.phone_call.subject: subject ca"),
        (with_column(CALLS, "subject", replace(TEXT, computed=True)), "fields.phone_call.subject: subject is calc"),
        (
            with_column(CALLS, "subject", replace(TEXT, valid_for_create=False)),
            "fields.phone_call.subject: subject cannot be set on create",
        ),
        (
            with_column(CALLS, "statecode", replace(STATE, valid_for_update=False)),
            "fields.phone_call.state: statecode cannot be set on create",
        ),
        (
            with_column(ITEMS, "medx_callstatus", replace(STATE, valid_for_update=False)),
            "fields.queue.status: medx_callstatus cannot be set on update",
        ),
        (with_column(CALLS, "subject", replace(TEXT, max_length=50)), "fields.phone_call.subject: subject holds 50"),
        (
            changed(CALLS, lambda t: replace(t, links={})),
            f"fields.phone_call.regarding: regardingobjectid is not set through {LINK}",
        ),
        (
            changed(CALLS, lambda t: replace(t, links={LINK: frozenset({"contacts"})})),
            "fields.phone_call.regarding: regardingobjectid does not point to accounts",
        ),
        (
            with_column(CALLS, "statecode", replace(STATE, options=frozenset({0}))),
            "option_sets.phone_call_state.completed: statecode has no option 1",
        ),
        (with_column(ITEMS, "medx_notes", None), "preserve_if_present: the queue item has no column medx_notes"),
        (with_column(ITEMS, "medx_notes", replace(TEXT, valid_for_read=False)), "preserve_if_present: medx_notes"),
    ],
)  # fmt: skip
def test_each_kind_of_gap_is_named_with_its_place_in_the_file(snapshot: Snapshot, gap: str) -> None:
    [only] = found(snapshot)

    assert only.startswith(gap)


def test_a_table_that_is_not_there_is_one_gap_and_not_one_for_each_of_its_columns() -> None:
    gone = Snapshot({ITEMS: SNAPSHOT.tables[ITEMS]})

    assert found(gone) == [
        "entities.phone_call: no table has the entity set name phonecalls",
        "entities.account: no table has the entity set name accounts",
    ]
    assert found(Snapshot({})) == [f"entities.{word}: no table has the entity set name {table.entity_set}"
                                   for word, table in MAPPING.tables.items()]  # fmt: skip


def test_an_owner_who_is_gone_is_a_gap() -> None:
    assert [str(gap) for gap in gaps_of(MAPPING, SNAPSHOT, {})] == [
        "owners.callback: no user with this id exists, is enabled and may own records"
    ]


def test_what_the_file_does_not_hold_together_is_left_to_the_planner() -> None:
    loose = replace(
        MAPPING,
        columns={**MAPPING.columns, "x": MappedColumn("nowhere", "x", "string", written=True)},
        options={"y": MappedOption("no.such.field", 1)},
    )
    assert found(mapping=loose) == []


def test_a_secured_column_is_told_since_metadata_does_not_say_who_may_use_it() -> None:
    [notice] = notices_of(MAPPING, with_column(CALLS, "subject", replace(TEXT, secured=True)))

    assert notice.startswith("fields.phone_call.subject: subject is secured")


def test_the_environment_mark_tells_whose_mapping_it_is() -> None:
    assert is_of(MAPPING, "https://EXAMPLE.crm.dynamics.com/")
    assert not is_of(MAPPING, "https://other.crm.dynamics.com")
    assert is_of(replace(MAPPING, environment=None), "https://other.crm.dynamics.com")


LABELS = {0: "Ready", 1: "In progress"}


def labelled(options: dict[int, str], columns: dict[str, str] | None = None) -> Snapshot:
    def change(table: Table) -> Table:
        shown = {"medx_callstatus": "Call status", "medx_timezone": "Time zone"} | (columns or {})
        with_labels = {name: replace(each, label=shown.get(name)) for name, each in table.columns.items()}
        status = replace(with_labels["medx_callstatus"], labels=options)
        return replace(table, columns=with_labels | {"medx_callstatus": status})

    return changed(ITEMS, change)


REVIEWED = replace(
    MAPPING,
    columns=MAPPING.columns
    | {"queue.status": replace(MAPPING.columns["queue.status"], label="Call Status")}
    | {"queue.timezone": replace(MAPPING.columns["queue.timezone"], label="Time Zone")},
    options={**MAPPING.options, "queue_status.ready": MappedOption("queue.status", 0, "READY")},
)


def test_a_label_is_compared_as_people_read_it() -> None:
    assert found(labelled(LABELS), REVIEWED) == []
    assert notices_of(REVIEWED, labelled(LABELS)) == ()


def test_swapped_values_and_columns_are_noticed_by_their_labels() -> None:
    assert found(labelled({0: "In progress", 1: "Ready"}), REVIEWED) == [
        'option_sets.queue_status.ready: "READY" is 1 in the CRM, and 0 is "In progress"; were the two swapped?'
    ]
    swapped = labelled(LABELS, {"medx_callstatus": "Time zone", "medx_timezone": "Call status"})
    one, other = found(swapped, REVIEWED)
    assert one.startswith(
        'fields.queue.status: "Call Status" is medx_timezone in the CRM, and medx_callstatus is "Time'
    )
    assert other.startswith('fields.queue.timezone: "Time Zone" is medx_callstatus in the CRM, and medx_timezone is "')


def test_a_label_that_was_only_renamed_is_a_notice_and_stops_nothing() -> None:
    renamed = labelled({0: "To call", 1: "In progress"})
    assert found(renamed, REVIEWED) == []
    assert notices_of(REVIEWED, renamed) == (
        'option_sets.queue_status.ready: 0 is called "To call" now, and was "READY" when the mapping was reviewed',
    )


def test_B1_an_owner_of_another_name_is_a_gap_that_names_nobody() -> None:
    reviewed = replace(MAPPING, names={"owners.callback": "Casey Callback"})
    for name, gaps in (("Casey  CALLBACK", 0), ("", 0), ("Pat Person", 1)):
        said = [str(gap) for gap in gaps_of(reviewed, SNAPSHOT, FACTS, {OWNER.value: name})]
        assert len(said) == gaps
        assert not any("Pat" in each or "Casey" in each for each in said)
    assert gaps_of(reviewed, SNAPSHOT, {}, {OWNER.value: "Pat Person"})[0].what.startswith("no user with this id")


@pytest.mark.parametrize(
    ("fixed", "gap"),
    [
        (MappedValue("phone_call", "subject", "dial"), None),
        (MappedValue("phone_call", "subject", 3), "subject: needs a text column's value"),
        (MappedValue("phone_call", "subject", "x" * 201), "subject: needs at most 200 characters"),
        (MappedValue("phone_call", "medx_gone", 3), "medx_gone: needs a column that exists"),
        (MappedValue("phone_call", "statecode", 0), "statecode: needs a column that can be set on create"),
    ],
)
def test_W9_fixed_values_are_verified_as_a_plan_with_them_is(fixed: MappedValue, gap: str | None) -> None:
    gaps = found(mapping=replace(MAPPING, fixed=(fixed,)))
    assert gaps == ([] if gap is None else [f"fixed_values.phone_call.{gap}"])


def test_W9_a_fixed_value_of_a_table_that_is_gone_is_named_by_its_table() -> None:
    mapping = replace(MAPPING, fixed=(MappedValue("task", "medx_x", 1),))
    assert found(mapping=mapping) == []


def test_a_secured_column_with_a_fixed_value_is_noticed() -> None:
    snapshot = with_column(CALLS, "medx_source", replace(TEXT, secured=True))
    [notice] = notices_of(replace(MAPPING, fixed=(MappedValue("phone_call", "medx_source", "x"),)), snapshot)
    assert notice.startswith("fixed_values.phone_call.medx_source: medx_source is secured;")


SENDER = ActivityParty(
    kind=PartyKind.QUEUE,
    record_id=an_id("q"),
    participation=1,
    column="partyid_queue@odata.bind",
    value=f"/queues({an_id('q')})",
)
PARTIES = ActivityParties(
    collection="phonecall_activity_parties", entity_set="activityparties", id_column="activityid", members=(SENDER,)
)
CALLER = Caller(object_id="o", record_id="u", entity_set="systemusers")
WITH_PEOPLE = replace(
    MAPPING, parties=PARTIES, caller=CALLER, names={"activity_parties.from": "Outbound", "caller": "Pat Person"}
)
PARTY_TABLE = Table({}, {SENDER.column: frozenset({"queues"})}, {PARTIES.collection: CALLS})
PEOPLE_SNAPSHOT = Snapshot({**SNAPSHOT.tables, "activityparties": PARTY_TABLE})
CALLER_KEY = "/systemusers(u) as o"


def test_W9_people_of_a_mapping_are_looked_up_with_the_table_of_parties() -> None:
    assert "activityparties" in WITH_PEOPLE.sets
    assert "activityparties" not in MAPPING.sets
    assert {where: one.key for where, one in WITH_PEOPLE.people.items()} == {
        "owners.callback": OWNER.value,
        "activity_parties.from": SENDER.value,
        "caller": CALLER_KEY,
    }


def test_W9_people_of_a_mapping_who_are_there_leave_no_gap() -> None:
    assert gaps_of(WITH_PEOPLE, PEOPLE_SNAPSHOT, FACTS | {SENDER.value: True, CALLER_KEY: True}) == ()


def test_W9_people_of_a_mapping_who_are_gone_are_named_all_at_once() -> None:
    assert [str(gap) for gap in gaps_of(WITH_PEOPLE, PEOPLE_SNAPSHOT, FACTS)] == [
        "caller: needs a user who exists, is enabled and has this object id in the directory",
        "activity_parties: partyid_queue@odata.bind needs a queue that exists and is active",
    ]
    [_, gap] = gaps_of(WITH_PEOPLE, SNAPSHOT, FACTS)
    assert str(gap) == "activity_parties: activityparties needs a table that exists"


def test_people_whose_ids_were_swapped_are_noticed_by_their_names() -> None:
    facts = FACTS | {SENDER.value: True, CALLER_KEY: True}
    gaps = gaps_of(WITH_PEOPLE, PEOPLE_SNAPSHOT, facts, {SENDER.value: "Support", CALLER_KEY: "pat person"})
    assert [str(gap) for gap in gaps] == [
        "activity_parties.from: the queue with this id has another name than the mapping says; correct one"
    ]


def test_W9_parties_of_a_mapping_without_phone_calls_are_named_by_the_table() -> None:
    bare = replace(WITH_PEOPLE, tables={}, columns={}, options={}, compared=())
    assert [gap.where for gap in gaps_of(bare, PEOPLE_SNAPSHOT, FACTS)] == ["caller"]
