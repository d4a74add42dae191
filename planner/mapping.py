"""The reviewed mapping file: concepts of the domain to one tenant's tables, columns, option values and owners.

The only module of the planner that knows the CRM's words. `load` checks the whole file against every concept that any
disposition needs and names every gap at once; what it returns has nothing left to look up.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from planner.core.dispositions import TaskKind
from planner.core.resolution import (
    Lookup,
    PartyColumns,
    PhoneCallColumns,
    QueueItemColumns,
    ResolvedMapping,
    TaskColumns,
    TextColumn,
)
from planner.errors import MappingUnfit
from schemas.records import ActivityParty, Caller, OwnerKind, PartyKind, QueueStatus, Value

FieldType = Literal["string", "integer", "boolean", "optionset", "lookup", "datetime"]
EntityName = Literal["queue_item", "phone_call", "task", "account"]
CreatedEntity = Literal["phone_call", "task"]
FixedType = Literal["string", "integer", "boolean", "optionset"]
LogicalName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,127}$")]
Guid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]

SCHEMA_VERSION: Final = "1"
_OPTIONAL_SECTIONS: Final = frozenset({"fixed_values", "activity_parties", "caller"})


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Meta(_Strict):
    schema_version: Literal["1"] = "1"
    discovered_at: str | None = Field(None, description="When discovery read the live metadata (ISO 8601).")
    environment: str | None = Field(None, description="SHA-256 of the environment's URL.")
    approved: bool = Field(default=False, description="Set by the person who reviewed the file.")
    approved_by: str | None = Field(None, description="Who that was.")
    approved_at: str | None = Field(None, description="When (ISO 8601).")
    approved_fingerprint: str | None = Field(
        None, description="Fingerprint of what was approved; a file that was changed since is not approved."
    )


class Entity(_Strict):
    logical_name: LogicalName
    entity_set_name: LogicalName
    primary_id: LogicalName


class MappedField(_Strict):
    entity: EntityName
    logical_name: LogicalName
    type: FieldType
    target: LogicalName | None = Field(None, description="Logical name of the table that a lookup points to.")
    navigation: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$",
        description="Single-valued navigation property of a lookup, in the case that $metadata gives it.",
    )
    label: str | None = Field(None, description="What people see in the CRM; it shows columns that were swapped.")
    max_length: int | None = Field(None, ge=1, description="Length of a text column; a cautious default if missing.")
    approved_update_field: bool = Field(default=False, description="The queue item's update may write this column.")


class Option(_Strict):
    field: str = Field(description="Concept of the option set's column.")
    value: int
    label: str | None = Field(None, description="What people see in the CRM; it shows options that were swapped.")


class Owner(_Strict):
    kind: Literal["systemuser", "team"]
    id: Guid
    name: str | None = Field(None, description="What people see in the CRM; it shows owners that were swapped.")


class FixedValue(_Strict):
    """What a column of the tenant's own gets on every record that is created."""

    type: FixedType
    value: bool | int | str
    label: str | None = Field(None, description="What people see of the column in the CRM.")


class Sender(_Strict):
    kind: Literal["systemuser", "queue"]
    id: Guid
    name: str | None = Field(None, description="What people see in the CRM; it shows ids that were swapped.")


class Parties(_Strict):
    """Who takes part in every call that is recorded; at least one of the two."""

    to: Literal["account"] | None = Field(None, description="The record that the outcome names as its account.")
    sender: Sender | None = Field(None, alias="from", description="The user or the queue that places the calls.")


class CallingUser(_Strict):
    """The user who is said to have recorded the calls."""

    id: Guid = Field(description="Id of the user in the CRM (`systemuserid`).")
    object_id: Guid = Field(description="The same user's object id in Entra.")
    name: str | None = Field(None, description="What people see in the CRM; it shows ids that were swapped.")


class MappingFile(_Strict):
    meta: Meta = Field(alias="_meta")
    entities: dict[EntityName, Entity]
    fields: dict[str, MappedField]
    option_sets: dict[str, Option]
    owners: dict[Literal["callback", "review"], Owner]
    task_owner_override_field: LogicalName | None = None
    preserve_if_present: tuple[LogicalName, ...] = ()
    fixed_values: dict[CreatedEntity, dict[LogicalName, FixedValue]] = Field(
        default_factory=dict, description="Columns of created phone calls and tasks that always get the same value."
    )
    activity_parties: Parties | None = None
    caller: CallingUser | None = None
    suggestions: dict[str, str] = Field(
        default_factory=dict,
        description="Place in this file to why discovery suggests what is there, or what there is to choose from. A "
        "person checks it and takes the line out.",
    )

    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that can change a plan; labels, names and who approved it cannot. An optional
        section that is not used changes nothing, so a file that was approved stays approved when one is added here.
        """
        shown: dict[str, Any] = {
            "fields": {"__all__": {"label"}},
            "option_sets": {"__all__": {"label"}},
            "owners": {"__all__": {"name"}},
            "fixed_values": {"__all__": {"__all__": {"label"}}},
            "activity_parties": {"sender": {"name"}},
            "caller": {"name"},
        }
        content = self.model_dump(mode="json", exclude={"meta": True, "suggestions": True, **shown})
        content = {name: held for name, held in content.items() if held or name not in _OPTIONAL_SECTIONS}
        return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Concept:
    """What the planner needs of the mapping. `length` is the cautious default of a text column that names none."""

    entity: EntityName
    type: FieldType
    written: bool = False
    required: bool = True
    target: EntityName | None = None
    length: int = 0


CONCEPTS: Final[Mapping[str, Concept]] = {
    "queue.status": Concept("queue_item", "optionset", written=True),
    "queue.last_disposition": Concept("queue_item", "string", written=True, length=100),
    "queue.last_session_id": Concept("queue_item", "string", written=True, length=200),
    "queue.attempt_count": Concept("queue_item", "integer", written=True),
    "queue.do_not_call": Concept("queue_item", "boolean", written=True),
    "queue.last_error": Concept("queue_item", "string", written=True, length=2_000),
    "queue.next_attempt_at": Concept("queue_item", "datetime", written=True, required=False),
    "queue.max_attempts": Concept("queue_item", "integer", required=False),
    "queue.phone_number": Concept("queue_item", "string", required=False),
    "queue.timezone": Concept("queue_item", "string", required=False),
    "queue.account": Concept("queue_item", "lookup", required=False, target="account"),
    "queue.campaign": Concept("queue_item", "lookup", required=False),
    "phone_call.subject": Concept("phone_call", "string", length=200),
    "phone_call.description": Concept("phone_call", "string", length=2_000),
    "phone_call.phone_number": Concept("phone_call", "string", length=200),
    "phone_call.direction": Concept("phone_call", "boolean"),
    "phone_call.actual_start": Concept("phone_call", "datetime"),
    "phone_call.actual_end": Concept("phone_call", "datetime"),
    "phone_call.duration_minutes": Concept("phone_call", "integer"),
    "phone_call.left_voicemail": Concept("phone_call", "boolean"),
    "phone_call.regarding": Concept("phone_call", "lookup", target="account"),
    "phone_call.idempotency_key": Concept("phone_call", "string", length=200),
    "phone_call.disposition": Concept("phone_call", "string", required=False),
    "phone_call.state": Concept("phone_call", "optionset"),
    "phone_call.status": Concept("phone_call", "optionset"),
    "task.subject": Concept("task", "string", length=200),
    "task.description": Concept("task", "string", length=2_000),
    "task.due_at": Concept("task", "datetime"),
    "task.regarding": Concept("task", "lookup", target="account"),
    "task.idempotency_key": Concept("task", "string", length=200),
}
"""Every concept that a disposition needs, and those that only the queue side reads."""

OPTIONS: Final[Mapping[str, str]] = {
    **{f"queue_status.{status}": "queue.status" for status in QueueStatus},
    "phone_call_state.completed": "phone_call.state",
    "phone_call_status.made": "phone_call.status",
}
"""Option to the concept of its column."""

USUAL_TABLES: Final[Mapping[EntityName, str]] = {"phone_call": "phonecall", "task": "task", "account": "account"}
"""Every environment has these three."""

OWNER_TABLES: Final[Mapping[OwnerKind, Literal["systemuser", "team"]]] = {
    OwnerKind.USER: "systemuser",
    OwnerKind.TEAM: "team",
}

_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "queue.status": ("callstatus",),
    "queue.last_session_id": ("lastsession",),
    "queue.attempt_count": ("attempts",),
    "queue.do_not_call": ("donotcall", "dnc"),
    "queue.max_attempts": ("maximumattempts",),
    "queue.next_attempt_at": ("nextattempt", "nextattempttime"),
    "queue.phone_number": ("phone",),
    "phone_call.direction": ("directioncode",),
    "phone_call.duration_minutes": ("actualdurationminutes", "duration"),
    "phone_call.regarding": ("regardingobjectid",),
    "phone_call.state": ("statecode", "activitystatus", "status"),
    "phone_call.status": ("statuscode", "statusreason"),
    "task.due_at": ("scheduledend", "duedate"),
    "task.regarding": ("regardingobjectid",),
    "queue_status.dnc": ("donotcall",),
}
"""How else a column or an option is usually called, in lower case without blanks."""

TASK_OWNERS: Final = ("callback", "review")
OUTGOING: Final = True
LONGEST_SESSION_ID: Final = 200

PARTIES_SET: Final = "activityparties"
SENDER: Final = 1
RECIPIENT: Final = 2
SENDERS: Final[Mapping[Literal["systemuser", "queue"], tuple[str, PartyKind]]] = {
    "systemuser": ("systemusers", PartyKind.USER),
    "queue": ("queues", PartyKind.QUEUE),
}
"""Entity set and kind of who may place a call."""

_OWNER_SETS: Final[Mapping[OwnerKind, str]] = {OwnerKind.USER: "systemusers", OwnerKind.TEAM: "teams"}
_OWNER_KINDS: Final[Mapping[str, OwnerKind]] = {"systemuser": OwnerKind.USER, "team": OwnerKind.TEAM}


def load(path: Path, *, next_attempt: bool = False) -> ResolvedMapping:
    """The mapping, resolved. `next_attempt`: a retry policy is configured. Raises MappingUnfit."""
    return resolve(read(path, next_attempt=next_attempt), next_attempt=next_attempt)


def read(path: Path, *, next_attempt: bool = False) -> MappingFile:
    """The file as it is, approved or not, complete or not.

    Raises MappingUnfit if it does not have the shape of a mapping, with the gaps of all other parts.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MappingUnfit([f"the mapping file {path} cannot be read: {type(error).__name__}"]) from None
    try:
        return MappingFile.model_validate_json(text)
    except ValidationError as error:
        found = [(each["loc"], each["msg"]) for each in error.errors()]
    shape = [_problem(place, message) for place, message in found]
    raise MappingUnfit([*shape, *_other_gaps(text, [place for place, _ in found], next_attempt=next_attempt)])


Place = tuple[int | str, ...]


def _other_gaps(text: str, broken: Collection[Place], *, next_attempt: bool) -> list[str]:
    """What else is wrong in a file whose shape is, so that it takes one round to put right."""
    if not all(broken):  # no object at all
        return []
    content = json.loads(text)
    for place in broken:
        _take_out(content, place[:2])
    whole = {"_meta": {"approved": True}, "entities": {}, "fields": {}, "option_sets": {}, "owners": {}} | content
    named = tuple(".".join(map(str, place[:2])) for place in broken)
    rest = gaps(MappingFile.model_validate(whole), next_attempt=next_attempt)
    return [gap for gap in rest if not any(_is_about(gap, each) for each in named)]


def _take_out(content: dict[str, Any], place: Place) -> None:
    """The entry of a section, or the section if it has no entries by name."""
    section, *inside = map(str, place)
    held = content.get(section)
    if inside and isinstance(held, dict):
        held.pop(inside[0], None)
    else:
        content.pop(section, None)


def _is_about(gap: str, place: str) -> bool:
    """Whether a gap is about a place, or about something in it."""
    named = gap.partition(":")[0]
    return named == place or named.startswith(place + ".")


def _problem(place: Place, message: str) -> str:
    return f"{'.'.join(map(str, place)) or 'the mapping file'}: {message}"


def resolve(mapping: MappingFile, *, next_attempt: bool = False) -> ResolvedMapping:
    """Raises MappingUnfit with every gap at once."""
    if problems := gaps(mapping, next_attempt=next_attempt):
        raise MappingUnfit(problems)
    return _Resolver(mapping).resolved()


def gaps(mapping: MappingFile, *, next_attempt: bool = False) -> list[str]:
    """Everything that stops the planner from using the mapping, in the file's order."""
    found = [*_not_approved(mapping), *(f"suggestions.{place}: {why}" for place, why in mapping.suggestions.items())]
    names: tuple[EntityName, ...] = ("queue_item", "phone_call", "task", "account")
    found += [f"entities.{name}: missing" for name in names if name not in mapping.entities]
    for name, concept in CONCEPTS.items():
        required = concept.required or (name == "queue.next_attempt_at" and next_attempt)
        found += _field_gaps(mapping, name, concept, required=required)
    found += [f"fields.{name}: unknown concept" for name in mapping.fields if name not in CONCEPTS]
    found += [f"owners.{name}: missing" for name in TASK_OWNERS if name not in mapping.owners]
    found += [*_option_gaps(mapping), *_preserved_gaps(mapping), *_fixed_gaps(mapping)]
    if mapping.activity_parties == Parties():
        found.append("activity_parties: names neither `to` nor `from`; take the section out, or name one of them")
    return [*found, *_swapped(mapping)]


def _not_approved(mapping: MappingFile) -> Iterator[str]:
    if not mapping.meta.approved:
        yield "_meta.approved: must be true; a person has to review the mapping first"
    elif mapping.meta.approved_fingerprint not in (None, mapping.fingerprint()):
        yield "_meta.approved_fingerprint: the file was changed since it was approved; review and approve it again"


def _field_gaps(mapping: MappingFile, name: str, concept: Concept, *, required: bool) -> Iterator[str]:
    mapped = mapping.fields.get(name)
    if mapped is None:
        if required:
            yield f"fields.{name}: missing; a {concept.type} column of {concept.entity} is needed"
        return
    if mapped.entity != concept.entity:
        yield f"fields.{name}.entity: is {mapped.entity}; must be {concept.entity}"
    if mapped.type != concept.type:
        yield f"fields.{name}.type: is {mapped.type}; must be {concept.type}"
    if concept.written and not mapped.approved_update_field:
        yield f"fields.{name}.approved_update_field: must be true, since the planner writes it"
    if mapped.approved_update_field and not concept.written:
        yield f"fields.{name}.approved_update_field: must be false, since the planner never writes it"
    if mapped.type == "lookup" and not mapped.target:
        yield f"fields.{name}.target: missing; a lookup names the table that it points to"
    target = mapping.entities.get(concept.target) if concept.target else None
    if target and mapped.target and mapped.target != target.logical_name:
        yield f"fields.{name}.target: is {mapped.target}; must be {target.logical_name}"
    if name.endswith((".idempotency_key", ".last_session_id")) and (mapped.max_length or 200) < LONGEST_SESSION_ID:
        yield f"fields.{name}.max_length: is {mapped.max_length}; must hold {LONGEST_SESSION_ID} characters"


def _option_gaps(mapping: MappingFile) -> Iterator[str]:
    for name, concept in OPTIONS.items():
        if name not in mapping.option_sets:
            yield f"option_sets.{name}: missing"
        elif mapping.option_sets[name].field != concept:
            yield f"option_sets.{name}.field: is {mapping.option_sets[name].field}; must be {concept}"
    yield from (f"option_sets.{name}: unknown option" for name in mapping.option_sets if name not in OPTIONS)
    statuses = [option.value for name, option in mapping.option_sets.items() if name.startswith("queue_status.")]
    if len(set(statuses)) < len(statuses):
        yield "option_sets: two statuses of the queue item have the same value"


def _preserved_gaps(mapping: MappingFile) -> Iterator[str]:
    written = {
        mapped.logical_name: name
        for name, mapped in mapping.fields.items()
        if mapped.entity == "queue_item" and mapped.approved_update_field
    }
    for column in mapping.preserve_if_present:
        if column in written:
            yield f"preserve_if_present.{column}: is also {written[column]}, which the planner writes"
    taken: dict[tuple[str, str], str] = {}
    for name, mapped in mapping.fields.items():
        other = taken.setdefault((mapped.entity, mapped.logical_name), name)
        if other != name:
            yield f"fields.{name}.logical_name: is the same column as {other}"


_FIXED_TYPES: Final[Mapping[FixedType, type]] = {"string": str, "integer": int, "boolean": bool, "optionset": int}


def _fixed_gaps(mapping: MappingFile) -> Iterator[str]:
    """A fixed value never takes the place of what the planner writes, nor of what Dataverse decides."""
    for entity, columns in mapping.fixed_values.items():
        written = {each.logical_name: name for name, each in mapping.fields.items() if each.entity == entity}
        table = mapping.entities.get(entity)
        for column, fixed in columns.items():
            place = f"fixed_values.{entity}.{column}"
            if column in written:
                yield f"{place}: is also {written[column]}, which the planner writes"
            elif table and column == table.primary_id:
                yield f"{place}: is the record's id, which the planner decides"
            if type(fixed.value) is not _FIXED_TYPES[fixed.type]:
                yield f"{place}.value: is not a value of a column of type {fixed.type}"


def _swapped(mapping: MappingFile) -> Iterator[str]:
    """Columns and options whose label or name is the word of another concept of the same table or set."""
    for name, mapped in mapping.fields.items():
        others = {word: other for other, word in _column_words(mapped.entity) if other != name}
        own = {word for concept, word in _column_words(mapped.entity) if concept == name}
        for what, shown in (("label", mapped.label), ("logical_name", mapped.logical_name)):
            for word in words_of(shown) - own:
                if word in others:
                    yield f"fields.{name}.{what}: is {shown}, which is {others[word]}; were the two swapped?"
    for name, option in mapping.option_sets.items():
        others = {word: other for other, word in _option_words(option.field) if other != name}
        if (word := squeezed(option.label or "")) in others:
            yield f"option_sets.{name}.label: is {option.label}, which is {others[word]}; were the two swapped?"


def _column_words(entity: EntityName) -> list[tuple[str, str]]:
    """Concept and word, each way in which a column of the table is usually called."""
    of_table = [name for name, concept in CONCEPTS.items() if concept.entity == entity]
    return [(name, word) for name in of_table for word in usual_words(name)]


def _option_words(field: str) -> list[tuple[str, str]]:
    of_set = [name for name, concept in OPTIONS.items() if concept == field]
    return [(name, word) for name in of_set for word in usual_words(name)]


def usual_words(concept: str) -> tuple[str, ...]:
    """How a column or an option is usually called, in lower case without blanks."""
    return (squeezed(concept.partition(".")[2]), *_WORDS.get(concept, ()))


def words_of(shown: str | None) -> set[str]:
    """A label or a logical name, with and without the prefix of its publisher."""
    text = shown or ""
    return {squeezed(text), squeezed(text.partition("_")[2])} - {""}


def squeezed(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


@dataclass(frozen=True, slots=True)
class _Resolver:
    """Looks up names in a mapping that has no gaps."""

    mapping: MappingFile

    def resolved(self) -> ResolvedMapping:
        owners = self.mapping.owners
        return ResolvedMapping(
            fingerprint=self.mapping.fingerprint(),
            phone_call=self._phone_call(),
            queue_item=self._queue_item(),
            task=self._task(),
            owners={kind: Lookup("ownerid@odata.bind", f"/{name}(", ")") for kind, name in _OWNER_SETS.items()},
            default_owners={
                TaskKind.CALLBACK: (_OWNER_KINDS[owners["callback"].kind], owners["callback"].id),
                TaskKind.REVIEW: (_OWNER_KINDS[owners["review"].kind], owners["review"].id),
            },
            owner_overrides=self.mapping.task_owner_override_field is not None,
            preserved=frozenset(self.mapping.preserve_if_present),
        )

    def _phone_call(self) -> PhoneCallColumns:
        return PhoneCallColumns(
            entity_set=self.mapping.entities["phone_call"].entity_set_name,
            subject=self._text("phone_call.subject"),
            description=self._text("phone_call.description"),
            phone_number=self._text("phone_call.phone_number"),
            direction=self._name("phone_call.direction"),
            outgoing=OUTGOING,
            started_at=self._name("phone_call.actual_start"),
            ended_at=self._name("phone_call.actual_end"),
            duration_minutes=self._name("phone_call.duration_minutes"),
            left_voicemail=self._name("phone_call.left_voicemail"),
            regarding=self._lookup("phone_call.regarding"),
            session_id=self._name("phone_call.idempotency_key"),
            disposition=self._name_if_mapped("phone_call.disposition"),
            fixed=self._fixed("phone_call"),
            parties=self._parties(),
            caller=self._caller(),
            completed={
                self._name("phone_call.state"): self._option("phone_call_state.completed"),
                self._name("phone_call.status"): self._option("phone_call_status.made"),
            },
        )

    def _queue_item(self) -> QueueItemColumns:
        return QueueItemColumns(
            entity_set=self.mapping.entities["queue_item"].entity_set_name,
            status=self._name("queue.status"),
            statuses={status: self._option(f"queue_status.{status}") for status in QueueStatus},
            last_disposition=self._text("queue.last_disposition"),
            last_session_id=self._name("queue.last_session_id"),
            attempt_count=self._name("queue.attempt_count"),
            do_not_call=self._name("queue.do_not_call"),
            last_error=self._text("queue.last_error"),
            next_attempt_at=self._name_if_mapped("queue.next_attempt_at"),
        )

    def _task(self) -> TaskColumns:
        return TaskColumns(
            entity_set=self.mapping.entities["task"].entity_set_name,
            subject=self._text("task.subject"),
            description=self._text("task.description"),
            due_at=self._name("task.due_at"),
            regarding=self._lookup("task.regarding"),
            session_id=self._name("task.idempotency_key"),
            fixed=self._fixed("task"),
        )

    def _parties(self) -> PartyColumns | None:
        given, tables = self.mapping.activity_parties, self.mapping.entities
        if given is None:
            return None
        phone_call, account = tables["phone_call"], tables["account"]
        return PartyColumns(
            collection=parties_of(phone_call.logical_name),
            entity_set=PARTIES_SET,
            id_column=phone_call.primary_id,
            sender=_sender(given.sender) if given.sender else None,
            recipient=_party(account.logical_name, account.entity_set_name) if given.to else None,
            recipient_type=RECIPIENT,
        )

    def _caller(self) -> Caller | None:
        given = self.mapping.caller
        return Caller(object_id=given.object_id, record_id=given.id, entity_set="systemusers") if given else None

    def _fixed(self, entity: CreatedEntity) -> Mapping[str, Value]:
        return {name: each.value for name, each in self.mapping.fixed_values.get(entity, {}).items()}

    def _name(self, concept: str) -> str:
        return self.mapping.fields[concept].logical_name

    def _name_if_mapped(self, concept: str) -> str | None:
        return self._name(concept) if concept in self.mapping.fields else None

    def _text(self, concept: str) -> TextColumn:
        mapped = self.mapping.fields[concept]
        return TextColumn(mapped.logical_name, mapped.max_length or CONCEPTS[concept].length)

    def _option(self, name: str) -> int:
        return self.mapping.option_sets[name].value

    def _lookup(self, concept: str) -> Lookup:
        """Dataverse names the navigation property of an activity's regarding lookup by both tables."""
        mapped = self.mapping.fields[concept]
        table = self.mapping.entities[mapped.entity].logical_name
        navigation = mapped.navigation or f"{mapped.logical_name}_{mapped.target}_{table}"
        account = self.mapping.entities["account"].entity_set_name
        return Lookup(f"{navigation}@odata.bind", f"/{account}(", ")")


def parties_of(activity: str) -> str:
    """The collection of an activity's parties, by the activity's logical name."""
    return f"{activity}_activity_parties"


def party_binding(table: str) -> str:
    """How a party of this table is bound, by the table's logical name."""
    return f"partyid_{table}@odata.bind"


def _party(table: str, entity_set: str) -> Lookup:
    return Lookup(party_binding(table), f"/{entity_set}(", ")")


def _sender(given: Sender) -> ActivityParty:
    entity_set, kind = SENDERS[given.kind]
    lookup = _party(given.kind, entity_set)
    return ActivityParty(
        kind=kind, record_id=given.id, participation=SENDER, column=lookup.column, value=lookup.to(given.id)
    )


def environment_mark(url: str) -> str:
    """What `_meta.environment` holds: SHA-256 (hex) of the environment's URL, lower case, without a final slash."""
    return sha256(url.lower().rstrip("/").encode()).hexdigest()
