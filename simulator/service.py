"""The simulator itself, without a socket: organization, limits, sign-in, faults, and what tests may do to it."""

import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from weakref import WeakValueDictionary

from simulator import tenant
from simulator.crm import Call, Organization, write
from simulator.crm.call import PERSON, SEED
from simulator.faults import Rules
from simulator.ids import SequentialIds
from simulator.limits import Protection
from simulator.schema import TABLES, Table, read_schema, schema_of, table_from
from simulator.schema.imports import read_files
from simulator.settings import Settings
from simulator.signin.gate import Gate
from simulator.signin.tokens import TokenIssuer
from simulator.store import Change, Row, Snapshot
from simulator.store.durable import SqliteFile
from simulator.webapi.canned import Message, Messages
from simulator.webapi.messages import Reply

# Without these nobody could sign in, so an empty organization has them too.
_USERS = frozenset({"businessunits", "systemusers"})


# How many requests the log lists, and how many of the newest are shown with their bodies, each up to so many bytes.
_LISTED = 100_000
_SHOWN = 500
_LONGEST_BODY = 32_768


@dataclass(slots=True)
class Seen:
    """One HTTP request in the request log. `answer` says what a fault made of the answer; empty for a whole one."""

    number: int
    at: float
    method: str
    path: str
    user: str
    server: int
    status: int
    seconds: float
    operations: int
    fault: str
    answer: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


# Number and headers of a request, the start of its body and how long all of it is; and the same of the answer.
_Raw = tuple[int, Mapping[str, str], bytes, int, Mapping[str, str], bytes, int]


@dataclass(slots=True)
class Bodies:
    """What request `number` said and what it was answered, as far as the log keeps it."""

    number: int
    headers: Mapping[str, str]
    body: str
    answer_headers: Mapping[str, str]
    answer_body: str

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class RequestLog:
    """The newest requests in the order of their answers, and the bodies of the very newest."""

    def __init__(self) -> None:
        self.count = 0
        self._seen: deque[Seen] = deque(maxlen=_LISTED)
        self._raw: deque[_Raw] = deque(maxlen=_SHOWN)

    def append(self, seen: Seen, headers: Mapping[str, str], body: bytes, reply: Reply) -> None:
        self.count += 1
        self._seen.append(seen)
        said = reply.body
        self._raw.append(
            (seen.number, headers, body[:_LONGEST_BODY], len(body), reply.headers, said[:_LONGEST_BODY], len(said))
        )

    def above(self, number: int, limit: int) -> list[Seen]:
        """The first requests with higher numbers."""
        return list(islice((one for one in self._seen if one.number > number), limit))

    def newest(self, limit: int, since: int = 0) -> list[Seen]:
        """The last requests, oldest first, of those that were answered since there were `since` of them."""
        return list(islice(reversed(self._seen), max(0, min(limit, self.count - since))))[::-1]

    def bodies(self, number: int) -> Bodies | None:
        """Headers and bodies of a request that is new enough; tokens are left out."""
        for kept, headers, body, length, answer_headers, said, long in self._raw:
            if kept == number:
                shown = {name: value for name, value in headers.items() if name != "authorization"}
                return Bodies(number, shown, _text(body, length), answer_headers, _text(said, long))
        return None


def _text(body: bytes, length: int) -> str:
    text = body.decode("utf-8", "replace")
    return text if len(body) == length else f"{text}\n… {length - len(body):,} bytes more"


def _tables(settings: Settings) -> tuple[list[Table], list[str]]:
    """The tables of the settings, and what an import could not take over. An imported table replaces its namesake."""
    own = read_schema(*(settings.tables or (TABLES,)), *settings.more_tables)
    if not settings.imports:
        return own, []
    imported = read_files(settings.imports, settings.import_tables, [table.logical_name for table in own])
    theirs = [table_from(definition, source=definition["table"]) for definition in imported.tables]
    replaced = {table.logical_name for table in theirs}
    return [*(table for table in own if table.logical_name not in replaced), *theirs], imported.remarks


class Simulator:
    """One organization and everything around it. All methods belong to the thread that serves requests."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        tables, self.import_remarks = _tables(settings)
        schema = schema_of(tables)
        self.organization = Organization(schema, switches=settings.switches, seed=settings.seed, clock=clock)
        self.organization.log.limit = settings.oplog_entries
        self.protection = Protection(settings.limits)
        self.issuer = TokenIssuer(tenant.TENANT_ID, clock)
        self.gate = Gate(
            settings.auth, self.organization, self.issuer, settings.tokens, delegates=self.organization.delegates
        )
        self.rules = Rules(settings.seed)
        for rule in settings.faults:
            self.rules.add(rule)
        self.latency = settings.latency
        self.dice = random.Random(f"{settings.seed}/latency")  # noqa: S311 - reproducible, not secret
        self.server_dice = random.Random(f"{settings.seed}/servers")  # noqa: S311 - as above
        self.numbers = itertools.count(1)
        self.messages = Messages()
        for message in settings.messages:
            self.can(message)
        self.requests = RequestLog()
        self.snapshots: dict[str, Snapshot] = {}
        self._taken: WeakValueDictionary[int, Snapshot] = WeakValueDictionary()
        self._saved = 0
        self._number = 0
        self.operation_count = 0
        self._file = SqliteFile(settings.sqlite) if settings.sqlite else None
        if not self._resume():
            self.seed_tenant(only=None if settings.seed_rows else _USERS)

    def _resume(self) -> bool:
        """Go on from the SQLite file. False when there is none or it is new."""
        if self._file is None:
            return False
        organization, held = self.organization, self._file.load()
        organization.store.restore(held)
        organization.store.columns = self._file
        organization.log.archive = self._file
        organization.log.last = self._saved = self._file.mark("log")
        if self._saved:
            # No id, etag or request number is given twice: rows that are gone live on in the log.
            organization.ids = SequentialIds(f"{self.settings.seed}/{self._saved}")
            self._number = self._file.mark("request")
            self.numbers = itertools.count(self._number + 1)
        organization.store.on_commit = self._save
        return bool(held.rows or self._saved)

    def _save(self, changes: list[Change]) -> None:
        """After every transaction: its rows, and the log as far as it is new."""
        if self._file is not None:
            store, log = self.organization.store, self.organization.log
            entries = list(log.since(self._saved))
            self._number = max([self._number, *(entry.request for entry in entries)])
            marks = {"version": store.version, "request": self._number, "log": log.last}
            for table, record_id, row in self._file.save(changes, entries, marks, log.limit):
                store.hold(table, record_id, row)
            self._saved = log.last
            log.archived()

    def close(self) -> None:
        """Write what the log still holds back, and let go of the file."""
        if self._file is not None:
            self._save([])
            self._file.close()
            self._file = None

    def seed_tenant(self, only: frozenset[str] | None = None) -> None:
        """The rows of the example tenant, as far as the tables are there; `only` names sets."""
        for entity_set, rows in tenant.rows():
            if entity_set in self.organization.schema.by_set and (only is None or entity_set in only):
                self.seed(entity_set, rows)

    def table(self, entity_set: str) -> Table:
        """Raises ValueError for a set that is not there."""
        table = self.organization.schema.by_set.get(entity_set) or self.organization.schema.by_name.get(entity_set)
        if table is None:
            raise ValueError(f"no table '{entity_set}'")
        return table

    def seed(self, entity_set: str, rows: list[dict[str, Any]]) -> list[str]:
        """Create rows as the system. All or none; returns their ids."""
        call = Call(user=tenant.SYSTEM_USER, actor=SEED)
        table = self.table(entity_set)
        with self.organization.atomic:
            return [write.create(self.organization, call, table, row) for row in rows]

    def edit(self, entity_set: str, record_id: str, values: dict[str, Any] | None, user: str | None = None) -> None:
        """A person changes a row, or deletes it (`values` None)."""
        call = Call(user=user or tenant.PERSON, actor=PERSON)
        table = self.table(entity_set)
        with self.organization.atomic:
            if values is None:
                write.delete(self.organization, call, table, record_id.lower())
            else:
                write.update(self.organization, call, table, record_id.lower(), values)

    def rows(self, entity_set: str) -> list[dict[str, Any]]:
        """Every row of a table, with its etag."""
        return [shown(row) for rows in self.parts(entity_set) for row in rows.values()]

    def parts(self, entity_set: str) -> list[dict[str, Row]]:
        """The rows of a table, by id and in the order of creation; a view has the rows of several tables."""
        table = self.table(entity_set)
        return [self.organization.store.table(name) for name in table.view_of or (table.logical_name,)]

    def newest(self, entity_set: str, limit: int) -> list[dict[str, Any]]:
        """The newest rows of a table, the newest first. Looks at no other row."""
        parts = [islice(reversed(rows.values()), limit) for rows in self.parts(entity_set)]
        found = [row for part in parts for row in part]
        if len(parts) > 1:
            found.sort(key=lambda row: (row.values.get("createdon") or "", row.version), reverse=True)
        return [shown(row) for row in found[:limit]]

    def reset(self) -> None:
        """As at the start: rows, log, faults, messages, latency, limits, switches, privileges. Tables and sign-in stay.

        Numbers go on: no id, etag or request number is given twice.
        """
        self._forget_rows()
        self.organization.log.clear()
        self.seed_tenant(only=None if self.settings.seed_rows else _USERS)
        self.rules.clear()
        for rule in self.settings.faults:
            self.rules.add(rule)
        self.messages.clear()
        for message in self.settings.messages:
            self.can(message)
        self.latency = self.settings.latency
        self.organization.switches = self.settings.switches
        self.organization.denied.clear()
        self.organization.withheld.clear()
        self.organization.duplicate_rules.clear()
        self.gate.delegates.clear()
        self.protection.adjust(self.settings.limits)

    def can(self, message: Message) -> None:
        """Answer a message from now on as somebody wrote it. Raises ValueError for one that can never be asked for."""
        schema = self.organization.schema
        if message.bound_to:
            bound = self.table(message.bound_to).logical_name
            message = message.model_copy(update={"bound_to": bound})
        elif message.name in schema.by_set:
            raise ValueError(f"'{message.name}' is the set of a table, and no message can have its name")
        self.messages.put(message)

    def _forget_rows(self) -> None:
        store = self.organization.store
        if self._file is None or self._taken:
            store.restore(Snapshot({}, 0))
            return
        # No snapshot can show them again, so none has to be fetched before the file forgets it.
        store.on_commit = None
        store.restore(Snapshot({}, 0))
        self._file.forget_rows()
        store.on_commit = self._save

    def snapshot(self) -> Snapshot:
        """All rows as they are now. It costs little until they change."""
        taken = self.organization.store.snapshot()
        self._taken[id(taken)] = taken
        return taken

    def restore(self, snapshot: Snapshot) -> None:
        self.organization.store.restore(snapshot)

    def counters(self) -> dict[str, Any]:
        """Totals, and the use of every limit."""
        store = self.organization.store
        return {
            "requests": self.requests.count,
            "operations": self.operation_count,
            "oplog_last": self.organization.log.last,
            "rows": {
                table.logical_name: sum(len(store.table(name)) for name in table.view_of or (table.logical_name,))
                for table in self.organization.schema
            },
            "limits": self.protection.counters(self.organization.clock()),
        }


def shown(row: Row) -> dict[str, Any]:
    """A row as the control endpoint shows it."""
    return {"@odata.etag": row.etag, **row.values}
