"""What each disposition writes under a mapping, column by column, in words. No I/O.

Which columns a plan writes is the planner's to decide; a test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from planner.core.dispositions import EFFECTS, Effect, TaskKind
from planner.mapping import CONCEPTS, SENDERS, CreatedEntity, EntityName, MappingFile
from schemas.records import Disposition

NOT_MAPPED = "(not mapped)"
FROM, TO, BY = "(its party From)", "(its party To)", "(who recorded it)"
OWNER = "(its owner)"


@dataclass(frozen=True, slots=True)
class Write:
    """One column that a disposition writes. `detail` decides the same as `gets`, and is not for people."""

    record: str
    table: str
    column: str
    gets: str
    label: str | None = field(default=None, compare=False)
    detail: tuple[object, ...] = ()


_CALL: Mapping[str, str] = {
    "phone_call.subject": "the summary, at most 200 characters",
    "phone_call.description": "the summary, redacted; with the transcript if the policy says so",
    "phone_call.phone_number": "the number that was called",
    "phone_call.direction": "outgoing",
    "phone_call.actual_start": "when the call began",
    "phone_call.actual_end": "when it ended",
    "phone_call.duration_minutes": "its minutes, rounded",
    "phone_call.left_voicemail": "whether a voicemail was left",
    "phone_call.regarding": "the account, if the outcome names one",
    "phone_call.idempotency_key": "the session id",
    "phone_call.disposition": "the disposition",
}
_TASKS: Mapping[TaskKind, tuple[str, str]] = {
    TaskKind.CALLBACK: ("Callback for, and the account's name", "the callback window and the verified email"),
    TaskKind.REVIEW: ("Review, the reason, and the account's name", "the reason; for a wrong address, the address"),
}
_OPTIONAL = ("phone_call.disposition", "queue.next_attempt_at")
_RECORDS: Mapping[EntityName, str] = {
    "phone_call": "phone call", "queue_item": "queue item", "task": "task", "account": "account",
}  # fmt: skip


def explained(mapping: MappingFile, disposition: Disposition) -> list[Write]:
    """In the order in which a plan writes them."""
    effect = EFFECTS[disposition]
    return [*(_call(mapping) if effect.call_placed else ()), *_item(mapping, effect), *_task(mapping, effect)]


def _call(mapping: MappingFile) -> Iterator[Write]:
    for concept, gets in _CALL.items():
        yield from _write(mapping, concept, gets)
    yield from _fixed(mapping, "phone_call")
    yield from _people(mapping)
    yield from _write(mapping, "phone_call.state", _option(mapping, "phone_call_state.completed"))
    yield from _write(mapping, "phone_call.status", _option(mapping, "phone_call_status.made"))


def _item(mapping: MappingFile, effect: Effect) -> Iterator[Write]:
    if effect.status:
        yield from _write(mapping, "queue.status", _option(mapping, f"queue_status.{effect.status}"))
    if effect.do_not_call:
        yield from _write(mapping, "queue.do_not_call", "yes")
    ruled_out = "blocked_by_eligibility and the letters of the rules that failed"
    yield from _write(mapping, "queue.last_disposition", "the disposition" if effect.call_placed else ruled_out)
    yield from _write(mapping, "queue.last_session_id", "the session id")
    yield from _write(mapping, "queue.last_error", "the warnings; empty if there are none")
    if effect.call_placed:
        yield from _write(mapping, "queue.attempt_count", "one more than it has")
    if effect.retryable:
        yield from _write(mapping, "queue.next_attempt_at", "when to try again, if a retry policy is set")


def _task(mapping: MappingFile, effect: Effect) -> Iterator[Write]:
    if effect.task is None:
        return
    subject, contents = _TASKS[effect.task]
    yield from _write(mapping, "task.subject", subject)
    yield from _write(mapping, "task.description", contents)
    yield from _write(mapping, "task.due_at", "when to call back, if the outcome says it")
    yield from _write(mapping, "task.regarding", "the account, if the outcome names one")
    yield from _write(mapping, "task.idempotency_key", "the session id")
    yield from _fixed(mapping, "task")
    yield _owner(mapping, effect.task)


def _fixed(mapping: MappingFile, entity: CreatedEntity) -> Iterator[Write]:
    for column, fixed in mapping.fixed_values.get(entity, {}).items():
        gets = f"always {json.dumps(fixed.value, ensure_ascii=False)}"
        yield Write(_RECORDS[entity], _table(mapping, entity), column, gets, fixed.label)


def _people(mapping: MappingFile) -> Iterator[Write]:
    record, table, parties = _RECORDS["phone_call"], _table(mapping, "phone_call"), mapping.activity_parties
    if parties and (sender := parties.sender):
        yield Write(record, table, FROM, f"the {SENDERS[sender.kind][1]} {sender.id}")
    if parties and parties.to:
        yield Write(record, table, TO, "the account, if the outcome names one")
    if mapping.caller:
        gets = f"the user {mapping.caller.id}, on whose behalf it is created and completed"
        yield Write(record, table, BY, gets, detail=(mapping.caller.object_id,))


def _owner(mapping: MappingFile, task: TaskKind) -> Write:
    owner, override = mapping.owners.get(task.value), mapping.task_owner_override_field
    default = f"the {task} owner, {owner.kind} {owner.id}" if owner else NOT_MAPPED
    gets = f"whom the outcome names as its owner, else {default}" if override else default
    return Write("task", _table(mapping, "task"), OWNER, gets)


def _write(mapping: MappingFile, concept: str, gets: str) -> Iterator[Write]:
    entity, mapped = CONCEPTS[concept].entity, mapping.fields.get(concept)
    record, table = _RECORDS[entity], _table(mapping, entity)
    if mapped is not None:
        detail = (mapped.type, mapped.target, mapped.navigation, mapped.max_length)
        yield Write(record, table, mapped.logical_name, gets, mapped.label, detail)
    elif concept not in _OPTIONAL:
        yield Write(record, table, f"{concept} {NOT_MAPPED}", gets)


def _table(mapping: MappingFile, entity: EntityName) -> str:
    return mapping.entities[entity].logical_name if entity in mapping.entities else NOT_MAPPED


def _option(mapping: MappingFile, name: str) -> str:
    option = mapping.option_sets.get(name)
    if option is None:
        return f"{name.partition('.')[2]} {NOT_MAPPED}"
    return f'{option.value} "{option.label}"' if option.label else f"{option.value} ({name.partition('.')[2]})"


def touched(old: MappingFile, new: MappingFile) -> dict[Disposition, list[str]]:
    """Disposition to the columns of which it writes something else, or which it writes no more or only now."""
    found = {}
    for disposition in Disposition:
        before = {(each.record, each.column): _what(each, old) for each in explained(old, disposition)}
        after = {(each.record, each.column): _what(each, new) for each in explained(new, disposition)}
        changed = [key for key in dict.fromkeys((*before, *after)) if before.get(key) != after.get(key)]
        changed += [("queue item", each) for each in set(old.preserve_if_present) ^ set(new.preserve_if_present)]
        if changed:
            found[disposition] = [f"{record}: {column}" for record, column in changed]
    return found


def _what(write: Write, mapping: MappingFile) -> tuple[object, ...]:
    """Labels do not count: an option is its value."""
    values = {_option(mapping, name): str(each.value) for name, each in mapping.option_sets.items()}
    sets = {each.logical_name: each.entity_set_name for each in mapping.entities.values()}
    return (sets.get(write.table, write.table), values.get(write.gets, write.gets), *write.detail)


def changes(old: MappingFile, new: MappingFile) -> list[tuple[str, str, str]]:
    """Place in the file, before and after; what says nothing to a plan is left out."""
    before, after = _places(old), _places(new)
    return [
        (place, before.get(place, "-"), after.get(place, "-"))
        for place in dict.fromkeys((*before, *after))
        if before.get(place) != after.get(place)
    ]


def _places(mapping: MappingFile) -> dict[str, str]:
    content = mapping.model_dump(mode="json", exclude={"meta", "suggestions"})
    flat = {
        f"{section}.{name}.{key}": str(value)
        for section in ("entities", "fields", "option_sets", "owners")
        for name, entry in content[section].items()
        for key, value in entry.items()
        if value is not None and key not in ("label", "name")
    }
    flat |= {
        f"fixed_values.{entity}.{column}": str(fixed["value"])
        for entity, columns in content["fixed_values"].items()
        for column, fixed in columns.items()
    }
    flat |= _flat_people(mapping)
    flat["task_owner_override_field"] = str(content["task_owner_override_field"])
    return flat | {f"preserve_if_present.{each}": "preserved" for each in content["preserve_if_present"]}


def _flat_people(mapping: MappingFile) -> dict[str, str]:
    parties, caller = mapping.activity_parties, mapping.caller
    flat = {}
    if parties and parties.sender:
        flat["activity_parties.from"] = f"{parties.sender.kind} {parties.sender.id}"
    if parties and parties.to:
        flat["activity_parties.to"] = parties.to
    if caller:
        flat |= {"caller.id": caller.id, "caller.object_id": caller.object_id}
    return flat
