"""A mapping from what there is: what a person named is taken, one clear match is suggested, anything else is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ops.core.discovery import discovered, tables_to_read
from writer.core.gate import Column, ColumnType, Table
from writer.core.mapping_check import LiveTable

TEXT = Column(ColumnType.STRING, max_length=100)
NUMBER, FLAG, TIME = Column(ColumnType.INTEGER), Column(ColumnType.BOOLEAN), Column(ColumnType.TIME)
STATUS = Column(
    ColumnType.OPTION, options=frozenset(range(5)), label="Call status",
    labels=dict(enumerate(("Ready", "In progress", "Completed", "Blocked", "Do not call"))),
)  # fmt: skip
COLUMNS = {
    "new_prospectid": Column(ColumnType.ID),
    "new_callstatus": STATUS,
    "new_attemptcount": NUMBER,
    "new_donotcall": FLAG,
    "new_lastdisposition": TEXT,
    "new_lastsessionid": replace(TEXT, max_length=200),
    "new_lasterror": TEXT,
    "new_accountid": Column(ColumnType.OTHER),
    "new_ownerid": Column(ColumnType.OTHER),
    "new_notes": TEXT,
    "statuscode": Column(ColumnType.OPTION, options=frozenset({1, 2}), label="Status Reason"),
}
LOOKUPS = {"new_accountid": {"accounts": "new_AccountId"}, "new_ownerid": {"systemusers": "new_OwnerId"}}


def table(name: str = "new_prospect", columns: dict[str, Column] | None = None, **more: Any) -> LiveTable:
    given: dict[str, Any] = {"label": "Prospect", "custom": True, "lookups": LOOKUPS, **more}
    return LiveTable(name, f"{name}s", f"{name}id", table=Table(COLUMNS if columns is None else columns), **given)


OTHERS = {
    "account": LiveTable("account", "accounts", "accountid", "Account", table=Table({})),
    "systemuser": LiveTable("systemuser", "systemusers", "systemuserid", "User"),
    "queueitem": LiveTable("queueitem", "queueitems", "queueitemid", "Queue Item", table=Table(COLUMNS)),
}


def found(scaffold: dict[str, Any] | None = None, *tables: LiveTable) -> tuple[dict[str, Any], dict[str, str]]:
    there = {each.logical_name: each for each in tables or (table(),)} | OTHERS
    content = discovered(scaffold or {}, there, environment="e" * 64, at="2026-11-28T20:00:00Z")
    return content, content["suggestions"]


def test_the_one_table_that_has_the_columns_is_suggested_and_a_standard_one_never() -> None:
    content, why = found()
    assert content["entities"]["queue_item"]["logical_name"] == "new_prospect"
    assert "columns of a queue item are found in it" in why["entities.queue_item"]
    assert content["_meta"]["approved"] is False


def test_of_two_tables_that_fit_alike_none_is_taken_and_both_are_named() -> None:
    content, why = found({}, table(), table("new_calllist"))
    assert "queue_item" not in content["entities"]
    assert "new_calllist, new_prospect may be it" in why["entities.queue_item"]
    assert "--queue-table" in why["entities.queue_item"]


def test_a_table_that_only_sounds_like_it_is_not_taken() -> None:
    content, why = found({}, table(columns={"new_prospectid": Column(ColumnType.ID)}))
    assert "queue_item" not in content["entities"]
    assert "new_prospect may be it" in why["entities.queue_item"]


def test_only_tables_in_question_are_read() -> None:
    tables = {each.logical_name: each for each in (table(), table("new_invoice", label="Invoice"))} | OTHERS
    assert tables_to_read({}, tables) == {"new_prospect", "phonecall", "task", "account"}
    named = {"entities": {"queue_item": {"logical_name": "new_invoice"}}}
    assert tables_to_read(named, tables) == {"new_invoice", "phonecall", "task", "account"}


def test_columns_that_speak_of_a_concept_alike_are_a_choice_and_not_a_guess() -> None:
    two = COLUMNS | {"abc_attemptcount": NUMBER}
    content, why = found({}, table(columns=two))
    assert "queue.attempt_count" not in content["fields"]
    assert why["fields.queue.attempt_count"] == (
        "no column speaks of it alone; choose one; other integer columns: abc_attemptcount, new_attemptcount"
    )


def test_a_column_that_cannot_be_written_is_never_suggested_for_what_is_written() -> None:
    computed = COLUMNS | {"new_attemptcount": replace(NUMBER, computed=True)}
    content, why = found({}, table(columns=computed))
    assert "queue.attempt_count" not in content["fields"]
    assert why["fields.queue.attempt_count"] == "no column speaks of it alone; choose one"


def test_a_better_match_is_not_taken_by_a_concept_that_only_resembles_it() -> None:
    content, _ = found()
    assert content["fields"]["queue.last_session_id"]["logical_name"] == "new_lastsessionid"
    assert content["fields"]["queue.status"]["logical_name"] == "new_callstatus", "not the table's own statuscode"


def test_options_in_another_language_are_listed_with_their_values_for_a_person_to_choose() -> None:
    words = {0: "Bereit", 1: "In Arbeit"}
    german = COLUMNS | {"new_callstatus": replace(STATUS, labels=words, options=frozenset(words))}
    content, why = found({}, table(columns=german))
    assert "queue_status.ready" not in content["option_sets"]
    assert why["option_sets.queue_status.ready"] == (
        'choose one; the options of new_callstatus: 0 "Bereit", 1 "In Arbeit"'
    )
    named = {"option_sets": {"queue_status.ready": {"label": "bereit"}}}
    content, why = found(named, table(columns=german))
    assert content["option_sets"]["queue_status.ready"]["value"] == 0
    assert "option_sets.queue_status.ready" not in why


def test_a_lookup_is_written_through_its_navigation_property_to_the_table_of_its_concept() -> None:
    content, _ = found()
    assert content["fields"]["queue.account"] == {
        "entity": "queue_item", "logical_name": "new_accountid", "type": "lookup", "target": "account",
        "navigation": "new_AccountId",
    }  # fmt: skip
    both = {"accounts": "new_Account", "leads": "new_Lead"}
    scaffold = {"fields": {"queue.campaign": {"logical_name": "new_accountid"}}}
    content, why = found(scaffold, table(lookups={"new_accountid": both}))
    assert "target" not in content["fields"]["queue.campaign"]
    assert why["fields.queue.campaign.target"] == "name the table that it points to, one of: account, leads"


def test_a_scaffold_without_an_optional_concept_means_to_leave_it_out() -> None:
    content, why = found({"fields": {}})
    assert "queue.account" not in content["fields"]
    assert "fields.queue.account" not in why
    assert "queue.status" in content["fields"], "but what is needed is suggested"


def test_a_label_that_was_reviewed_stays_so_that_a_swap_is_noticed_and_a_shorter_length_is_kept() -> None:
    scaffold = {
        "fields": {"queue.last_error": {"logical_name": "new_lasterror", "label": "Fehler", "max_length": 50}},
        "option_sets": {"queue_status.ready": {"value": 1, "label": "Ready"}},
    }
    content, why = found(scaffold)
    assert (content["fields"]["queue.last_error"]["label"], content["fields"]["queue.last_error"]["max_length"]) == (
        "Fehler", 50,
    )  # fmt: skip
    assert content["option_sets"]["queue_status.ready"] == {"field": "queue.status", "value": 1, "label": "Ready"}
    assert "option_sets.queue_status.ready" not in why


def test_whose_tasks_and_which_columns_people_keep_is_asked_and_not_guessed() -> None:
    content, why = found()
    assert (content["owners"], content["preserve_if_present"]) == ({}, [])
    assert "--owner callback=ID" in why["owners.callback"]
    assert "new_notes" in why["preserve_if_present"]
    assert content["task_owner_override_field"] == "new_ownerid"
    assert "new_ownerid" in why["task_owner_override_field"]
    decided = {"preserve_if_present": ["new_notes"], "task_owner_override_field": None}
    content, why = found(decided)
    assert (content["preserve_if_present"], content["task_owner_override_field"]) == (["new_notes"], None)
    assert not {"preserve_if_present", "task_owner_override_field"} & why.keys()


@pytest.mark.parametrize("word", ["phone_call", "task"])
def test_a_table_that_is_not_there_is_asked_for(word: str) -> None:
    content, why = found()
    assert word not in content["entities"]
    assert why[f"entities.{word}"] == "name its table"


def test_sections_that_only_people_can_fill_are_taken_from_the_scaffold_as_they_are() -> None:
    fixed = {"task": {"medx_source": {"type": "string", "value": "dial"}}}
    assert found({"fixed_values": fixed})[0]["fixed_values"] == fixed
    assert "fixed_values" not in found()[0]
