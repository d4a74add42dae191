"""What `mapping explain` and `diff` say of a mapping is what the planner does with it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.core.explanation import BY, FROM, NOT_MAPPED, OWNER, TO, changes, explained, touched
from ops.core.mapping_text import content_of, written
from planner.core.dispositions import EFFECTS
from planner.core.planning import Policy, plan
from planner.mapping import MappingFile, resolve
from schemas.records import (
    Account,
    CallOutcome,
    Disposition,
    HumanReviewReason,
    Operation,
    PlannedWriteback,
    Source,
)
from tests.support.factories import NOON, an_id, make_outcome

TEXT = (Path(__file__).parents[3] / "ops" / "demo" / "mapping.json").read_text()
MAPPING = MappingFile.model_validate_json(TEXT)
DELAYS = {each: timedelta(hours=1) for each, effect in EFFECTS.items() if effect.retryable}
RECORD = {
    Operation.CREATE_PHONE_CALL: "phone call", Operation.COMPLETE_PHONE_CALL: "phone call",
    Operation.UPDATE_QUEUE_ITEM: "queue item", Operation.CREATE_TASK: "task",
}  # fmt: skip


def changed(places: dict[str, Any]) -> MappingFile:
    content = json.loads(TEXT)
    for path, value in places.items():
        *parents, last = [each.replace("~", ".") for each in path.split("__")]
        place = content
        for each in parents:
            place = place[each]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return MappingFile.model_validate(content)


TENANTS = changed(
    {
        "fixed_values": {
            "phone_call": {"medx_channel": {"type": "optionset", "value": 3}},
            "task": {"medx_source": {"type": "string", "value": "dial"}},
        },
        "activity_parties": {"to": "account", "from": {"kind": "queue", "id": an_id("queue"), "name": "Calls"}},
        "caller": {"id": an_id("user"), "object_id": an_id("object"), "name": "Pat"},
    }
)
"""With everything in it that only some tenants use."""


def full_outcome(disposition: Disposition) -> CallOutcome:
    """Everything that the disposition lets an outcome say."""
    return make_outcome(
        disposition=disposition,
        failing_rules=("d",) if disposition is Disposition.BLOCKED else (),
        human_review_reason=(
            HumanReviewReason.LEGAL_REQUEST if disposition is Disposition.NEEDS_HUMAN_REVIEW else None
        ),
        callback_at=NOON + timedelta(days=1),
        callback_window="mornings",
        summary="A call.",
        phone_number="+15305550101",
        account=Account(id=an_id("account"), name="Example"),
    )


@pytest.mark.parametrize("mapping", [MAPPING, TENANTS], ids=["the example", "a tenant's"])
@pytest.mark.parametrize("disposition", Disposition)
def test_what_is_explained_is_exactly_what_a_plan_writes(disposition: Disposition, mapping: MappingFile) -> None:
    planned = plan(
        full_outcome(disposition),
        Source(topic="call-outcomes", partition=0, offset=0),
        resolve(mapping),
        Policy(delays=DELAYS),
    )
    assert isinstance(planned, PlannedWriteback), planned
    written_ones = {
        (RECORD[step.operation], name)
        for step in planned.steps
        for name in (*(each.partition("@")[0] for each in step.attributes), *step.increments)
    }
    navigations = {each.navigation: each.logical_name for each in MAPPING.fields.values() if each.navigation}
    written_ones = {(record, navigations.get(name, name)) for record, name in written_ones}
    written_ones |= {("task", OWNER) for step in planned.steps if step.owner_candidates}
    written_ones |= {("phone call", BY) for step in planned.steps if step.caller}
    parties = [each for step in planned.steps if step.activity_parties for each in step.activity_parties.members]
    written_ones |= {("phone call", FROM if each.participation == 1 else TO) for each in parties}
    assert {(each.record, each.column) for each in explained(mapping, disposition)} == written_ones


def test_options_are_explained_by_value_and_label_and_what_is_missing_by_its_concept() -> None:
    by_column = {each.column: each.gets for each in explained(MAPPING, Disposition.DO_NOT_CALL)}
    assert by_column["medx_callstatus"] == '4 "Do Not Call"'
    assert by_column["medx_donotcall"] == "yes"
    bare = changed({"option_sets__queue_status~dnc": None, "fields__queue~last_error": None, "owners__review": None})
    found = explained(bare, Disposition.DO_NOT_CALL)
    assert {each.column: each.gets for each in found}["medx_callstatus"] == f"dnc {NOT_MAPPED}"
    assert any(each.column == f"queue.last_error {NOT_MAPPED}" for each in found)
    assert any(NOT_MAPPED in each.gets for each in explained(bare, Disposition.NEEDS_HUMAN_REVIEW))


@pytest.mark.parametrize(
    ("places", "dispositions"),
    [
        ({"option_sets__queue_status~dnc__value": 9}, {Disposition.DO_NOT_CALL}),
        ({"fields__queue~do_not_call__logical_name": "medx_x"}, {Disposition.DO_NOT_CALL}),
        ({"owners__review__id": an_id("another")}, {Disposition.NEEDS_HUMAN_REVIEW}),
        ({"fields__task~subject__max_length": 50}, {d for d, effect in EFFECTS.items() if effect.task}),
        ({"fields__phone_call~subject__max_length": 50}, {d for d, effect in EFFECTS.items() if effect.call_placed}),
        ({"fields__queue~last_session_id__logical_name": "medx_x"}, set(Disposition)),
        ({"entities__queue_item__entity_set_name": "others"}, set(Disposition)),
        ({"preserve_if_present": ["medx_notes"]}, set(Disposition)),
        (
            {"fixed_values": {"phone_call": {"medx_x": {"type": "integer", "value": 1}}}},
            {d for d, effect in EFFECTS.items() if effect.call_placed},
        ),
        *(
            (people, {d for d, effect in EFFECTS.items() if effect.call_placed})
            for people in (
                {"activity_parties": {"to": "account"}},
                {"activity_parties": {"from": {"kind": "systemuser", "id": an_id("user")}}},
                {"caller": {"id": an_id("user"), "object_id": an_id("object")}},
            )
        ),
        ({"option_sets__queue_status~dnc__label": "Never"}, set()),
        ({"fields__queue~status__label": "State"}, set()),
        ({"_meta__approved_by": "Ada"}, set()),
    ],
)  # fmt: skip
def test_a_change_touches_the_dispositions_that_write_something_else_because_of_it(
    places: dict[str, Any], dispositions: set[Disposition]
) -> None:
    new = changed(places)
    assert set(touched(MAPPING, new)) == dispositions
    assert bool(changes(MAPPING, new)) == bool(dispositions)
    assert (new.fingerprint() != MAPPING.fingerprint()) == bool(dispositions)


def test_a_file_is_written_one_entry_a_line_and_read_as_the_same() -> None:
    text = written(content_of(MAPPING))
    assert MappingFile.model_validate_json(text) == MAPPING
    assert '    "queue_status.ready": {"field": "queue.status", "value": 0, "label": "Ready"},\n' in text
    assert len(text.splitlines()) < len(MAPPING.fields) + len(MAPPING.option_sets) + 30


def test_fixed_values_are_explained_as_they_are_sent() -> None:
    by_column = {each.column: each.gets for each in explained(TENANTS, Disposition.CALL_BACK_LATER)}
    assert by_column["medx_channel"] == "always 3"
    assert by_column["medx_source"] == 'always "dial"'


def test_a_tenants_file_is_written_one_entry_a_line_and_read_as_the_same() -> None:
    assert MappingFile.model_validate_json(written(content_of(TENANTS))) == TENANTS


def test_people_are_explained_by_their_ids_and_never_by_their_names() -> None:
    by_column = {each.column: each.gets for each in explained(TENANTS, Disposition.NO_ANSWER)}
    assert by_column[FROM] == f"the queue {an_id('queue')}"
    assert by_column[BY].startswith(f"the user {an_id('user')}")
    as_user = changed({"activity_parties": {"from": {"kind": "systemuser", "id": an_id("user")}}})
    assert {each.column: each.gets for each in explained(as_user, Disposition.NO_ANSWER)}[FROM] == (
        f"the user {an_id('user')}"
    )
