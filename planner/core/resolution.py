"""The mapping as the planner uses it: every name looked up, nothing left to decide. Pure; it holds no vendor words.

`planner.mapping` makes a `ResolvedMapping` out of the reviewed file, and only if that file is complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from planner.core.dispositions import TaskKind
from planner.core.text import cut
from schemas.records import ActivityParty, Caller, OwnerCandidate, OwnerKind, PartyKind, QueueStatus, Value


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column that holds text; `limit` as the CRM counts it, in UTF-16 units."""

    name: str
    limit: int

    def fit(self, text: str) -> str:
        return cut(text, self.limit)


@dataclass(frozen=True, slots=True)
class Lookup:
    """How a request points to another record: the column, and the value around the record's id."""

    column: str
    before: str
    after: str

    def to(self, record_id: str) -> str:
        return f"{self.before}{record_id}{self.after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyColumns:
    """Who takes part in a call. `sender` places it; `recipient`: how the record that the outcome names is bound."""

    collection: str
    entity_set: str
    id_column: str
    sender: ActivityParty | None
    recipient: Lookup | None
    recipient_type: int

    def members(self, account_id: str | None) -> tuple[ActivityParty, ...]:
        """Those of one call; `account_id` is None if the outcome names no account."""
        senders = (self.sender,) if self.sender else ()
        if self.recipient is None or account_id is None:
            return senders
        recipient = ActivityParty(
            kind=PartyKind.CUSTOMER,
            record_id=account_id,
            participation=self.recipient_type,
            column=self.recipient.column,
            value=self.recipient.to(account_id),
        )
        return (*senders, recipient)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneCallColumns:
    """`fixed`: columns that always get the same value. `caller`: on whose behalf calls are recorded."""

    entity_set: str
    subject: TextColumn
    description: TextColumn
    phone_number: TextColumn
    direction: str
    outgoing: Value
    started_at: str
    ended_at: str
    duration_minutes: str
    left_voicemail: str
    regarding: Lookup
    session_id: str
    disposition: str | None
    completed: Mapping[str, Value]
    fixed: Mapping[str, Value] = field(default_factory=dict)
    parties: PartyColumns | None = None
    caller: Caller | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueItemColumns:
    entity_set: str
    status: str
    statuses: Mapping[QueueStatus, int]
    last_disposition: TextColumn
    last_session_id: str
    attempt_count: str
    do_not_call: str
    last_error: TextColumn
    next_attempt_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskColumns:
    entity_set: str
    subject: TextColumn
    description: TextColumn
    due_at: str
    regarding: Lookup
    session_id: str
    fixed: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedMapping:
    """One tenant's names. `fingerprint` is the SHA-256 (hex) of the mapping that they come from."""

    fingerprint: str
    phone_call: PhoneCallColumns
    queue_item: QueueItemColumns
    task: TaskColumns
    owners: Mapping[OwnerKind, Lookup]
    default_owners: Mapping[TaskKind, tuple[OwnerKind, str]]
    owner_overrides: bool
    preserved: frozenset[str] = field(default_factory=frozenset)

    def default_owner(self, task: TaskKind) -> OwnerCandidate:
        kind, record_id = self.default_owners[task]
        return self._candidate(kind, record_id, override=False)

    def override_owner(self, record_id: str) -> OwnerCandidate:
        return self._candidate(OwnerKind.USER, record_id, override=True)

    def _candidate(self, kind: OwnerKind, record_id: str, *, override: bool) -> OwnerCandidate:
        lookup = self.owners[kind]
        return OwnerCandidate(
            kind=kind, record_id=record_id, column=lookup.column, value=lookup.to(record_id), override=override
        )
