"""Reads of the planner's mapping file what the CRM has to have for it; the planner judges the rest of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.errors import Misconfigured
from schemas.records import ActivityParties, ActivityParty, Caller, OwnerCandidate, OwnerKind, PartyKind
from writer.core.mapping_check import (
    CALLER,
    QUEUE_ITEM,
    SENDER,
    MappedColumn,
    MappedOption,
    MappedTable,
    MappedValue,
    MappingToCheck,
)


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _Meta(_Read):
    environment: str | None = None


class _Entity(_Read):
    logical_name: str
    entity_set_name: str
    primary_id: str


class _Field(_Read):
    entity: str
    logical_name: str
    type: str
    target: str | None = None
    navigation: str | None = None
    label: str | None = None
    max_length: int | None = None
    approved_update_field: bool = False


class _Option(_Read):
    field: str
    value: int
    label: str | None = None


class _Owner(_Read):
    kind: Literal["systemuser", "team"]
    id: str
    name: str | None = None


class _Fixed(_Read):
    value: bool | int | str


class _Sender(_Read):
    kind: Literal["systemuser", "queue"]
    id: str
    name: str | None = None


class _Parties(_Read):
    to: str | None = None
    sender: _Sender | None = Field(None, alias="from")


class _Caller(_Read):
    id: str
    object_id: str
    name: str | None = None


class _File(_Read):
    meta: _Meta = Field(alias="_meta")
    entities: dict[str, _Entity]
    fields: dict[str, _Field]
    option_sets: dict[str, _Option] = Field(default_factory=dict)
    owners: dict[str, _Owner] = Field(default_factory=dict)
    task_owner_override_field: str | None = None
    preserve_if_present: tuple[str, ...] = ()
    fixed_values: dict[str, dict[str, _Fixed]] = Field(default_factory=dict)
    activity_parties: _Parties | None = None
    caller: _Caller | None = None


_OWNER_LINKS = {"systemuser": "systemusers", "team": "teams"}


def read_mapping(path: str | Path) -> MappingToCheck:
    """Raises Misconfigured with every mistake in the file's shape."""
    try:
        file = _File.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise Misconfigured([f"{path}: cannot be read: {error.strerror}"]) from None
    except ValidationError as error:
        places = [(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors(include_input=False)]
        raise Misconfigured([f"{path}: {where or 'the file'}: {what}" for where, what in places]) from None
    tables = {
        word: MappedTable(one.logical_name, one.entity_set_name, one.primary_id) for word, one in file.entities.items()
    }
    columns = {concept: _column(one) for concept, one in file.fields.items()}
    override = [file.task_owner_override_field] if file.task_owner_override_field else []
    return MappingToCheck(
        file.meta.environment,
        tables,
        columns,
        {name: MappedOption(one.field, one.value, one.label) for name, one in file.option_sets.items()},
        {word: owner_candidate(one.kind, one.id) for word, one in file.owners.items()},
        (*file.preserve_if_present, *override),
        _names(file),
        tuple(
            MappedValue(word, column, fixed.value)
            for word, columns in file.fixed_values.items()
            for column, fixed in columns.items()
        ),
        _parties(file),
        _caller(file),
    )


def _names(file: _File) -> dict[str, str]:
    sender = file.activity_parties.sender if file.activity_parties else None
    shown = {f"owners.{word}": one.name for word, one in file.owners.items()}
    shown |= {SENDER: sender.name if sender else None}
    shown |= {CALLER: file.caller.name if file.caller else None}
    return {where: name for where, name in shown.items() if name}


_SENDERS = {"systemuser": ("systemusers", PartyKind.USER), "queue": ("queues", PartyKind.QUEUE)}
_ANY_RECORD = "00000000-0000-0000-0000-000000000000"


def _parties(file: _File) -> ActivityParties | None:
    """As the planner makes them, a test holds the two together; the account is any."""
    given, calls, account = file.activity_parties, file.entities.get("phone_call"), file.entities.get("account")
    if given is None or calls is None:
        return None
    members = []
    if given.sender is not None:
        entity_set, kind = _SENDERS[given.sender.kind]
        members.append(_party(kind, given.sender.kind, entity_set, given.sender.id, participation=1))
    if given.to is not None and account is not None:
        members.append(
            _party(PartyKind.CUSTOMER, account.logical_name, account.entity_set_name, _ANY_RECORD, participation=2)
        )
    return ActivityParties(
        collection=f"{calls.logical_name}_activity_parties", entity_set="activityparties",
        id_column=calls.primary_id, members=tuple(members),
    )  # fmt: skip


def _party(kind: PartyKind, table: str, entity_set: str, record_id: str, *, participation: int) -> ActivityParty:
    return ActivityParty(
        kind=kind, record_id=record_id, participation=participation, column=f"partyid_{table}@odata.bind",
        value=f"/{entity_set}({record_id})",
    )  # fmt: skip


def _caller(file: _File) -> Caller | None:
    given = file.caller
    return Caller(object_id=given.object_id, record_id=given.id, entity_set="systemusers") if given else None


def _column(one: _Field) -> MappedColumn:
    return MappedColumn(
        one.entity,
        one.logical_name,
        one.type,
        written=one.approved_update_field or one.entity != QUEUE_ITEM,
        binding=f"{one.navigation}@odata.bind" if one.navigation and one.entity != QUEUE_ITEM else None,
        target=one.target,
        max_length=one.max_length,
        label=one.label,
    )


def owner_candidate(kind: Literal["systemuser", "team"], record_id: str) -> OwnerCandidate:
    return OwnerCandidate(
        kind=OwnerKind.USER if kind == "systemuser" else OwnerKind.TEAM,
        record_id=record_id, column="ownerid@odata.bind", value=f"/{_OWNER_LINKS[kind]}({record_id})", override=False,
    )  # fmt: skip
