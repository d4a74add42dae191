import contextlib
import copy
import functools
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner import mapping as planner_mapping
from planner.core.dispositions import TaskKind
from planner.errors import MappingUnfit
from planner.mapping import CONCEPTS, OPTIONS, MappingFile, environment_mark, gaps, load, read, resolve
from schemas.records import OwnerKind, QueueStatus
from tests.unit.planner.strategies import EXAMPLE

SHIPPED = Path(planner_mapping.__file__).with_name("mapping.example.json")
WHOLE = json.loads(EXAMPLE.read_text())


def mapping(**changes) -> MappingFile:
    """The example with `path__to__key=value` changed; a value of None removes the key."""
    content = copy.deepcopy(WHOLE)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = content
        for name in parents:
            place = place[name.replace("~", ".")]
        if value is None:
            del place[last.replace("~", ".")]
        else:
            place[last.replace("~", ".")] = value
    return MappingFile.model_validate(content)


def swapped(*paths: str) -> MappingFile:
    """The example with two entries in each other's place."""
    one, other = (functools.reduce(lambda place, name: place[name], path.split("/"), WHOLE) for path in paths)
    content = copy.deepcopy(WHOLE)
    for path, entry in zip(paths, (other, one), strict=True):
        section, name = path.split("/")
        content[section][name] = dict(entry)
    return MappingFile.model_validate(content)


def test_the_example_that_people_copy_is_whole_and_not_approved():
    """Whoever copies it has not reviewed it."""
    with pytest.raises(MappingUnfit) as caught:
        load(SHIPPED, next_attempt=True)
    assert caught.value.problems == ("_meta.approved: must be true; a person has to review the mapping first",)


def test_the_demos_mapping_is_the_example_approved():
    shipped, demo = json.loads(SHIPPED.read_text()), copy.deepcopy(WHOLE)
    assert demo["_meta"]["approved"] is True
    assert demo["_meta"].pop("approved_by") == "the demo"
    assert {**shipped, "_meta": None} == {**demo, "_meta": None}


def test_the_demos_mapping_is_resolved_as_it_says():
    crm = load(EXAMPLE, next_attempt=True)
    assert crm.queue_item.statuses == dict(zip(QueueStatus, range(5), strict=True))
    assert crm.phone_call.completed == {"statecode": 1, "statuscode": 2}
    assert crm.task.regarding.column == "regardingobjectid_account_task@odata.bind"
    assert crm.task.regarding.to("x") == "/accounts(x)"
    assert crm.default_owner(TaskKind.REVIEW).kind is OwnerKind.USER
    assert crm.preserved == {"medx_notes", "medx_priority"}
    assert crm.queue_item.last_error.limit == 4000


@pytest.mark.parametrize("concept", [name for name, each in CONCEPTS.items() if each.required])
def test_every_concept_that_a_disposition_needs_is_missed_by_name(concept):
    assert any(concept in gap for gap in gaps(mapping(**{f"fields__{concept.replace('.', '~')}": None})))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_that_a_disposition_needs_is_missed_by_name(option):
    assert gaps(mapping(**{f"option_sets__{option.replace('.', '~')}": None})) == [f"option_sets.{option}: missing"]


@pytest.mark.parametrize("name", ["queue_item", "phone_call", "task", "account"])
def test_every_table_is_missed_by_name(name):
    assert f"entities.{name}: missing" in gaps(mapping(**{f"entities__{name}": None}))


@pytest.mark.parametrize("name", ["callback", "review"])
def test_every_owner_is_missed_by_name(name):
    assert gaps(mapping(**{f"owners__{name}": None})) == [f"owners.{name}: missing"]


@pytest.mark.parametrize(
    ("changes", "gap"),
    [
        ({"_meta__approved": False}, "_meta.approved"),
        ({"fields__queue~status__type": "string"}, "fields.queue.status.type: is string; must be optionset"),
        ({"fields__queue~status__entity": "task"}, "fields.queue.status.entity: is task; must be queue_item"),
        ({"fields__queue~status__approved_update_field": False}, "fields.queue.status.approved_update_field"),
        ({"fields__queue~timezone__approved_update_field": True}, "fields.queue.timezone.approved_update_field"),
        ({"fields__task~regarding__target": None}, "fields.task.regarding.target: missing"),
        ({"fields__task~regarding__target": "contact"}, "fields.task.regarding.target: is contact; must be account"),
        ({"fields__task~idempotency_key__max_length": 100}, "fields.task.idempotency_key.max_length: is 100"),
        ({"fields__queue~last_session_id__max_length": 36}, "fields.queue.last_session_id.max_length: is 36"),
        ({"fields__queue~colour": WHOLE["fields"]["queue.timezone"] | {"logical_name": "x"}}, "unknown concept"),
        ({"option_sets__queue_status~lost": {"field": "queue.status", "value": 9}}, "unknown option"),
        ({"option_sets__queue_status~dnc": {"field": "queue.status", "value": 0}}, "have the same value"),
        ({"option_sets__queue_status~dnc": {"field": "task.subject", "value": 4}}, "must be queue.status"),
        ({"preserve_if_present": ["medx_lasterror"]}, "preserve_if_present.medx_lasterror: is also queue.last_error"),
        ({"fields__queue~last_error__logical_name": "medx_lastdisposition"}, "is the same column as"),
    ],
)
def test_what_cannot_be_right_is_named(changes, gap):
    assert any(gap in each for each in gaps(mapping(**changes)))


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (("fields/phone_call.actual_start", "fields/phone_call.actual_end"), "phone_call.actual_end"),
        (("fields/phone_call.subject", "fields/phone_call.description"), "phone_call.description"),
        (("fields/task.subject", "fields/task.description"), "task.description"),
        (("fields/phone_call.direction", "fields/phone_call.left_voicemail"), "phone_call.left_voicemail"),
        (("fields/phone_call.state", "fields/phone_call.status"), "phone_call.status"),
        (("fields/queue.attempt_count", "fields/queue.max_attempts"), "queue.max_attempts"),
        (("fields/queue.last_error", "fields/queue.last_disposition"), "queue.last_disposition"),
        (("option_sets/queue_status.completed", "option_sets/queue_status.blocked"), "queue_status.blocked"),
        (("option_sets/queue_status.ready", "option_sets/queue_status.dnc"), "queue_status.dnc"),
    ],
)
def test_two_that_were_swapped_are_told_by_their_labels_or_names(paths, told):
    found = gaps(swapped(*paths))
    name = paths[0].replace("/", ".")
    assert any(each.startswith(name) and f"which is {told}; were the two swapped?" in each for each in found)


def test_a_label_tells_where_the_name_says_nothing():
    names = {"fields__queue~attempt_count__logical_name": "new_a", "fields__queue~max_attempts__logical_name": "new_b"}
    labels = {"fields__queue~attempt_count__label": "Max. Attempts", "fields__queue~max_attempts__label": "Attempts"}
    assert gaps(mapping(**names)) == []
    assert [each.partition(":")[0] for each in gaps(mapping(**names, **labels))] == [
        "fields.queue.attempt_count.label",
        "fields.queue.max_attempts.label",
    ]


def test_labels_of_another_language_say_nothing():
    german = {"fields__queue~status__label": "Anrufstatus", "option_sets__queue_status~dnc__label": "Nicht anrufen"}
    assert gaps(mapping(**german)) == []


def test_all_gaps_are_named_at_once():
    unfit = mapping(_meta__approved=False, owners__review=None, **{"fields__queue~status": None})
    with pytest.raises(MappingUnfit) as caught:
        resolve(unfit)
    assert len(caught.value.problems) == 3


def test_the_next_attempt_time_is_needed_only_by_a_retry_policy():
    without = mapping(**{"fields__queue~next_attempt_at": None})
    assert gaps(without) == []
    assert resolve(without).queue_item.next_attempt_at is None
    assert gaps(without, next_attempt=True) == [
        "fields.queue.next_attempt_at: missing; a datetime column of queue_item is needed"
    ]


def test_lengths_that_the_mapping_does_not_know_are_cautious():
    unknown = mapping(**{"fields__phone_call~description__max_length": None})
    assert resolve(unknown).phone_call.description.limit == 2000


def test_navigation_names_follow_dataverses_rule_unless_given():
    derived = mapping(**{"fields__task~regarding__navigation": None})
    assert resolve(derived).task.regarding.column == "regardingobjectid_account_task@odata.bind"


def test_teams_may_own_tasks():
    owned = resolve(mapping(owners__callback={"kind": "team", "id": "44444444-aaaa-4bbb-8ccc-000000000001"}))
    assert owned.default_owner(TaskKind.CALLBACK).value == "/teams(44444444-aaaa-4bbb-8ccc-000000000001)"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "Invalid JSON"),
        ("[]", "the mapping file: "),
        ("{}", "entities: Field required"),
        (json.dumps(WHOLE | {"extra": 1}), "extra: Extra inputs are not permitted"),
        (json.dumps(WHOLE | {"owners": {"callback": {"kind": "systemuser", "id": "me"}}}), "owners.callback.id: "),
        (json.dumps(WHOLE | {"task_owner_override_field": "Not Logical"}), "task_owner_override_field: "),
    ],
)
def test_a_file_that_is_no_mapping_says_where(tmp_path: Path, text, problem):
    (file := tmp_path / "mapping.json").write_text(text)
    with pytest.raises(MappingUnfit) as caught:
        read(file)
    assert any(problem in each for each in caught.value.problems)


def test_what_is_wrong_in_shape_and_what_is_missing_are_named_in_one_round(tmp_path: Path):
    content = copy.deepcopy(WHOLE)
    content["_meta"]["approved"] = False
    content["fields"]["queue.status"]["type"] = "picklist"
    content["owners"]["callback"]["id"] = "me"
    content["preserve_if_present"].append("Not Logical")
    content["surplus"] = 1
    del content["owners"]["review"], content["fields"]["task.subject"]
    (file := tmp_path / "mapping.json").write_text(json.dumps(content))
    with pytest.raises(MappingUnfit) as caught:
        load(file)
    assert [each.partition(":")[0] for each in caught.value.problems] == [
        "fields.queue.status.type",
        "owners.callback.id",
        "preserve_if_present.2",
        "surplus",
        "_meta.approved",
        "fields.task.subject",
        "owners.review",
    ]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(section=st.sampled_from([*WHOLE, "surplus"]), data=st.data())
def test_P6_whatever_stands_in_the_file_is_told_as_a_problem_of_the_mapping(tmp_path: Path, section, data):
    content = copy.deepcopy(WHOLE)
    entries = content.get(section)
    if isinstance(entries, dict) and data.draw(st.booleans()):
        entries[data.draw(st.sampled_from([*entries, "other"]))] = data.draw(_JSON)
    else:
        content[section] = data.draw(_JSON)
    (file := tmp_path / "mapping.json").write_text(json.dumps(content))
    with contextlib.suppress(MappingUnfit):
        load(file)


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path):
    with pytest.raises(MappingUnfit, match="cannot be read: FileNotFoundError"):
        load(tmp_path / "absent.json")
    (binary := tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    with pytest.raises(MappingUnfit, match="cannot be read: UnicodeDecodeError"):
        load(binary)


def test_labels_and_who_approved_it_do_not_change_the_fingerprint():
    changed = mapping(_meta__approved_by="Kim", **{"option_sets__queue_status~dnc__label": "DNC"})
    assert mapping().fingerprint() == changed.fingerprint()


def test_the_fingerprint_follows_what_can_change_a_plan_and_nothing_else():
    whole = mapping()
    assert whole.fingerprint() == mapping(_meta__discovered_at="2030-01-01T00:00:00Z").fingerprint()
    assert whole.fingerprint() != mapping(preserve_if_present=[]).fingerprint()
    assert whole.fingerprint() != mapping(**{"fields__task~subject__max_length": 100}).fingerprint()


def test_the_environments_mark_does_not_depend_on_how_its_url_is_written():
    assert environment_mark("https://Example.crm.dynamics.com/") == environment_mark("https://example.crm.dynamics.com")
    assert WHOLE["_meta"]["environment"] == environment_mark("https://example.crm.dynamics.com")


def test_what_discovery_suggests_is_refused_until_a_person_has_taken_the_suggestion_out():
    suggested = mapping(suggestions={"fields.queue.status": "its label is Call status; or medx_state"})
    assert gaps(suggested) == ["suggestions.fields.queue.status: its label is Call status; or medx_state"]


def test_a_file_that_was_changed_after_its_approval_is_not_approved():
    marked = mapping(_meta__approved_fingerprint=mapping().fingerprint())
    assert gaps(marked) == []
    changed = mapping(
        _meta__approved_fingerprint=mapping().fingerprint(), owners__callback__id="33333333-aaaa-4bbb-8ccc-000000000012"
    )
    [gap] = gaps(changed)
    assert gap.startswith("_meta.approved_fingerprint: the file was changed since it was approved")


def test_names_labels_and_suggestions_do_not_change_the_fingerprint():
    named = {"owners__callback__name": "Casey", "fields__queue~status__label": "Call status"}
    same = mapping(suggestions={"owners.review": "why"}, **named)
    assert same.fingerprint() == mapping().fingerprint()


FIXED = {
    "phone_call": {
        "medx_channel": {"type": "optionset", "value": 3},
        "medx_source": {"type": "string", "value": "dial"},
    },
    "task": {"medx_urgent": {"type": "boolean", "value": True}},
}


def test_fixed_values_are_resolved_for_the_records_that_are_created():
    crm = resolve(mapping(fixed_values=FIXED))
    assert crm.phone_call.fixed == {"medx_channel": 3, "medx_source": "dial"}
    assert crm.task.fixed == {"medx_urgent": True}


@pytest.mark.parametrize(
    ("entity", "column", "fixed", "gap"),
    [
        ("phone_call", "subject", {"type": "string", "value": "x"}, "subject: is also phone_call.subject, which the"),
        ("task", "activityid", {"type": "string", "value": "x"}, "activityid: is the record's id, which the planner"),
        (
            "task",
            "medx_n",
            {"type": "integer", "value": True},
            "medx_n.value: is not a value of a column of type int",
        ),
        (
            "task",
            "medx_n",
            {"type": "optionset", "value": "1"},
            "medx_n.value: is not a value of a column of type opt",
        ),
        ("task", "medx_n", {"type": "boolean", "value": 1}, "medx_n.value: is not a value of a column of type boolean"),
        ("task", "medx_n", {"type": "string", "value": 1}, "medx_n.value: is not a value of a column of type string"),
    ],
)
def test_a_fixed_value_takes_nobodys_place_and_has_its_columns_type(entity, column, fixed, gap):
    [found] = gaps(mapping(fixed_values={entity: {column: fixed}}))
    assert found.startswith(f"fixed_values.{entity}.{gap}")


def test_fixed_values_are_of_tables_whose_rows_the_planner_creates():
    """A queue item belongs to people: a column that is fixed there would be compared with what they wrote."""
    with pytest.raises(ValueError, match="queue_item"):
        mapping(fixed_values={"queue_item": {"medx_x": {"type": "string", "value": "x"}}})


def test_fixed_values_of_a_table_that_is_missing_are_named_with_it():
    found = gaps(mapping(entities__task=None, fixed_values=FIXED))
    assert [gap for gap in found if "fixed" in gap or "entities" in gap] == ["entities.task: missing"]


def test_the_fingerprint_says_which_values_are_fixed_and_nothing_of_labels_or_unused_sections():
    plain, fixed = mapping().fingerprint(), mapping(fixed_values=FIXED).fingerprint()
    assert mapping(fixed_values={}).fingerprint() == plain != fixed
    labelled = copy.deepcopy(FIXED)
    labelled["task"]["medx_urgent"]["label"] = "Urgent"
    assert mapping(fixed_values=labelled).fingerprint() == fixed
    labelled["task"]["medx_urgent"]["value"] = False
    assert mapping(fixed_values=labelled).fingerprint() != fixed


USER, OBJECT, QUEUE = (f"{n}{n}{n}{n}{n}{n}{n}{n}-aaaa-4bbb-8ccc-000000000001" for n in "123")


def test_parties_are_resolved_by_the_names_that_dataverse_gives_them():
    crm = resolve(mapping(activity_parties={"to": "account", "from": {"kind": "queue", "id": QUEUE}}))
    parties = crm.phone_call.parties
    assert (parties.collection, parties.entity_set, parties.id_column) == (
        "phonecall_activity_parties", "activityparties", "activityid",
    )  # fmt: skip
    assert [(each.participation, each.column, each.value) for each in parties.members("a")] == [
        (1, "partyid_queue@odata.bind", f"/queues({QUEUE})"),
        (2, "partyid_account@odata.bind", "/accounts(a)"),
    ]
    assert [each.participation for each in parties.members(None)] == [1]


def test_a_tenant_that_calls_contacts_maps_them_as_its_accounts_and_they_take_part_as_contacts():
    contact = {"logical_name": "contact", "entity_set_name": "contacts", "primary_id": "contactid"}
    lookups = ("queue~account", "phone_call~regarding", "task~regarding")
    changes = {f"fields__{each}__target": "contact" for each in lookups}
    crm = resolve(mapping(entities__account=contact, activity_parties={"to": "account"}, **changes))
    [member] = crm.phone_call.parties.members("c")
    assert (member.column, member.value) == ("partyid_contact@odata.bind", "/contacts(c)")


def test_a_user_may_place_the_calls_and_record_them():
    given = {
        "activity_parties": {"from": {"kind": "systemuser", "id": USER}},
        "caller": {"id": USER, "object_id": OBJECT},
    }
    call = resolve(mapping(**given)).phone_call
    assert [each.value for each in call.parties.members("a")] == [f"/systemusers({USER})"]
    assert (call.caller.object_id, call.caller.record_id, call.caller.entity_set) == (OBJECT, USER, "systemusers")


def test_a_section_of_parties_that_names_nobody_is_a_gap():
    [gap] = gaps(mapping(activity_parties={}))
    assert gap.startswith("activity_parties: names neither `to` nor `from`")


def test_the_fingerprint_says_who_takes_part_and_who_records_and_nothing_of_their_names():
    prints = {
        mapping(**given).fingerprint()
        for given in (
            {},
            {"activity_parties": {"to": "account"}},
            {"activity_parties": {"from": {"kind": "queue", "id": QUEUE}}},
            {"caller": {"id": USER, "object_id": OBJECT}},
            {"caller": {"id": USER, "object_id": USER}},
        )
    }
    assert len(prints) == 5
    assert mapping(caller={"id": USER, "object_id": OBJECT, "name": "Pat"}).fingerprint() in prints
    assert mapping(activity_parties={"from": {"kind": "queue", "id": QUEUE, "name": "Calls"}}).fingerprint() in prints


def test_a_mapping_without_optional_sections_has_the_fingerprint_that_it_was_approved_with_before_there_were_any():
    """If this fails, every installation has to approve its mapping again: say so to users."""
    assert mapping().fingerprint() == "aa80c98a4130bafe75d8a9a354c6f8beac36f89afe7aa5d41c388b941709c344"
