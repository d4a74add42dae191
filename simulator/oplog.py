"""The operation log: every attempt to write, in order, with who, what and what became of it: a test's ground truth.

Entries hold references to the row versions before and after; what changed is worked out when somebody asks.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self

from simulator.store import Row

COMMITTED = "committed"
ROLLED_BACK = "rolled_back"
REFUSED = "refused"


class Entry:
    """One write that was tried.

    `outcome` is committed, rolled_back (done, then undone because a later one of its change set failed) or refused
    (with status and code). `request` numbers the HTTP request, `change_set` names the change set inside it.
    """

    __slots__ = (
        "actor", "after", "at", "before", "change_set", "code", "operation", "outcome", "position", "precondition",
        "record_id", "request", "seq", "status", "table", "user",
    )  # fmt: skip

    seq: int
    at: float
    request: int
    change_set: str | None
    position: int
    user: str
    actor: str
    operation: str
    table: str
    record_id: str
    outcome: str
    status: int
    code: str
    precondition: str
    before: Row | None
    after: Row | None

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """The entry that `to_dict` gave; its row versions hold the columns that changed and no others."""
        entry = cls()
        for name in _PLAIN:
            setattr(entry, name, plain[name])
        entry.record_id = plain["id"]
        entry.before = _version(plain["etag_before"], {name: old for name, (old, _) in plain["changes"].items()})
        entry.after = _version(plain["etag_after"], {name: new for name, (_, new) in plain["changes"].items()})
        return entry

    def changes(self) -> dict[str, list[Any]]:
        """Column → [old, new] for every column that differs."""
        old = self.before.values if self.before else {}
        new = self.after.values if self.after else {}
        names = dict.fromkeys([*old, *new])
        return {name: [old.get(name), new.get(name)] for name in names if old.get(name) != new.get(name)}

    def to_dict(self) -> dict[str, Any]:
        return {
            "seq": self.seq,
            "at": self.at,
            "request": self.request,
            "change_set": self.change_set,
            "position": self.position,
            "user": self.user,
            "actor": self.actor,
            "operation": self.operation,
            "table": self.table,
            "id": self.record_id,
            "outcome": self.outcome,
            "status": self.status,
            "code": self.code,
            "precondition": self.precondition,
            "etag_before": self.before.etag if self.before else None,
            "etag_after": self.after.etag if self.after else None,
            "changes": self.changes(),
        }


_PLAIN = (
    "seq", "at", "request", "change_set", "position", "user", "actor", "operation", "table", "outcome", "status",
    "code", "precondition",
)  # fmt: skip


def _version(etag: str | None, values: dict[str, Any]) -> Row | None:
    return None if etag is None else Row(values, {}, int(etag.removeprefix('W/"').removesuffix('"')))


@dataclass(frozen=True)
class Where:
    """Which entries to show; empty fields ask for nothing."""

    after: int = 0
    table: str = ""
    record_id: str = ""
    user: str = ""
    actor: str = ""
    operation: str = ""
    outcome: str = ""

    def matches(self, entry: Entry) -> bool:
        return (
            (not self.table or entry.table == self.table)
            and (not self.record_id or entry.record_id == self.record_id)
            and (not self.user or entry.user == self.user)
            and (not self.actor or entry.actor == self.actor)
            and (not self.operation or entry.operation == self.operation)
            and (not self.outcome or entry.outcome == self.outcome)
        )


@dataclass
class OperationLog:
    """Append-only, numbered from 1. Holds the newest `limit` entries."""

    limit: int = 2_000_000
    last: int = 0
    entries: deque[Entry] = field(default_factory=deque)

    def append(self, entry: Entry) -> Entry:
        self.last += 1
        entry.seq = self.last
        self.entries.append(entry)
        if len(self.entries) > self.limit:
            self.entries.popleft()
        return entry

    def resume(self, entries: Iterable[Entry]) -> None:
        """Go on after entries of an earlier run, oldest first."""
        for entry in entries:
            self.entries.append(entry)
            self.last = entry.seq

    def rolled_back_since(self, seq: int) -> None:
        """Mark what was done after `seq` as undone."""
        for entry in reversed(self.entries):
            if entry.seq <= seq:
                break
            if entry.outcome == COMMITTED:
                entry.outcome = ROLLED_BACK

    def since(self, seq: int) -> Iterator[Entry]:
        """Entries numbered higher than `seq`, oldest first."""
        first = self.entries[0].seq if self.entries else 0
        return islice(self.entries, max(0, seq + 1 - first), None)

    def find(self, where: Where, limit: int | None = None) -> list[Entry]:
        return list(islice((entry for entry in self.since(where.after) if where.matches(entry)), limit))

    def clear(self) -> None:
        """Forget the entries; the numbers go on."""
        self.entries.clear()
