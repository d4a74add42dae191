"""The operation log: every attempt to write, in order, with who, what and what became of it: a test's ground truth.

Entries hold references to the row versions before and after; what changed is worked out when somebody asks. Where a
file holds the log too, memory keeps the newest entries only and the older ones are read when somebody asks.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, Self

from simulator.store import Row

COMMITTED = "committed"
ROLLED_BACK = "rolled_back"
REFUSED = "refused"


class Entry:
    """One write that was tried.

    `outcome` is committed, rolled_back (done, then undone because a later one of its change set failed) or refused
    (with status and code). `request` numbers the HTTP request, `change_set` names the change set inside it. `answer`
    says what a fault made of the answer that the caller should have got, and is empty when the caller got it.
    """

    __slots__ = (
        "actor", "after", "answer", "at", "before", "change_set", "code", "operation", "outcome", "position",
        "precondition", "record_id", "request", "seq", "status", "table", "user",
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
    answer: str
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
            "answer": self.answer,
            "etag_before": self.before.etag if self.before else None,
            "etag_after": self.after.etag if self.after else None,
            "changes": self.changes(),
        }


_PLAIN = (
    "seq", "at", "request", "change_set", "position", "user", "actor", "operation", "table", "outcome", "status",
    "code", "precondition", "answer",
)  # fmt: skip


def _version(etag: str | None, values: dict[str, Any]) -> Row | None:
    return None if etag is None else Row(values, {}, int(etag.removeprefix('W/"').removesuffix('"')))


@dataclass(frozen=True)
class Where:
    """Which entries to show, by number (`after` … `until`) and content; empty fields ask for nothing."""

    after: int = 0
    until: int = 0
    table: str = ""
    record_id: str = ""
    user: str = ""
    actor: str = ""
    operation: str = ""
    outcome: str = ""

    def matches(self, entry: Entry) -> bool:
        return (
            (not self.record_id or entry.record_id == self.record_id)
            and (not self.table or entry.table == self.table)
            and (not self.user or entry.user == self.user)
            and (not self.actor or entry.actor == self.actor)
            and (not self.operation or entry.operation == self.operation)
            and (not self.outcome or entry.outcome == self.outcome)
        )


class Archive(Protocol):
    """Entries that memory no longer holds."""

    def entries(self, where: Where, before: int, limit: int, *, newest: bool = False) -> list[Entry]: ...

    def forget_log(self) -> None: ...


# How many entries stay in memory when a file holds them all.
WINDOW = 10_000
_ALL = 2**62


@dataclass
class OperationLog:
    """Append-only, numbered from 1. Holds the newest `limit` entries, in memory or in the archive."""

    limit: int = 2_000_000
    last: int = 0
    forgotten: int = 0
    """The number of the last entry that `clear` took: what a reader holds up to there is of another life."""
    entries: deque[Entry] = field(default_factory=deque)
    archive: Archive | None = None

    def append(self, entry: Entry) -> Entry:
        self.last += 1
        entry.seq = self.last
        self.entries.append(entry)
        if len(self.entries) > self.limit and (self.archive is None or len(self.entries) > WINDOW):
            self.entries.popleft()
        return entry

    def archived(self) -> None:
        """The archive has everything up to now."""
        while len(self.entries) > min(self.limit, WINDOW):
            self.entries.popleft()

    def rolled_back_since(self, seq: int) -> None:
        """Mark what was done after `seq` as undone."""
        for entry in reversed(self.entries):
            if entry.seq <= seq:
                break
            if entry.outcome == COMMITTED:
                entry.outcome = ROLLED_BACK

    def since(self, seq: int) -> Iterator[Entry]:
        """Entries in memory numbered higher than `seq`, oldest first."""
        first = self.entries[0].seq if self.entries else 0
        return islice(self.entries, max(0, seq + 1 - first), None)

    def find(self, where: Where, limit: int | None = None, *, newest: bool = False) -> list[Entry]:
        """Entries that fit, oldest first: the first `limit` of them, or with `newest` the last."""
        limit = _ALL if limit is None else limit
        until = min(where.until or self.last, self.last)
        first = self.entries[0].seq if self.entries else self.last + 1
        older = where.after + 1 < first and self.archive is not None
        if newest:
            found = list(islice(self._backwards(where, until), limit))[::-1]
            if older and len(found) < limit:
                found[:0] = self._older(where, min(first, until + 1), limit - len(found), newest=True)
            return found
        found = self._older(where, min(first, until + 1), limit, newest=False) if older else []
        fits = (entry for entry in self._forwards(where.after, until) if where.matches(entry))
        return found + list(islice(fits, limit - len(found)))

    def _forwards(self, after: int, until: int) -> Iterator[Entry]:
        first = self.entries[0].seq if self.entries else 0
        return islice(self.entries, max(0, after + 1 - first), max(0, until + 1 - first))

    def _backwards(self, where: Where, until: int) -> Iterator[Entry]:
        for entry in islice(reversed(self.entries), self.last - until, None):
            if entry.seq <= where.after:
                return
            if where.matches(entry):
                yield entry

    def _older(self, where: Where, before: int, limit: int, *, newest: bool) -> list[Entry]:
        return self.archive.entries(where, before, limit, newest=newest) if self.archive else []

    def clear(self) -> None:
        """Forget the entries; the numbers go on."""
        self.entries.clear()
        self.forgotten = self.last
        if self.archive is not None:
            self.archive.forget_log()
