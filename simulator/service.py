"""The simulator itself, without a socket: organization, limits, sign-in, faults, and what tests may do to it."""

import itertools
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator import tenant
from simulator.crm import Call, Organization, write
from simulator.crm.call import PERSON, SEED
from simulator.faults import Rules
from simulator.ids import SequentialIds
from simulator.limits import Protection
from simulator.oplog import Entry
from simulator.schema import TABLES, Table, read_schema, schema_of
from simulator.settings import Settings
from simulator.signin.gate import Gate
from simulator.signin.tokens import TokenIssuer
from simulator.store import Change, Snapshot
from simulator.store.durable import SqliteFile

# Without these nobody could sign in, so an empty organization has them too.
_USERS = frozenset({"businessunits", "systemusers"})


@dataclass(slots=True)
class Seen:
    """One HTTP request in the request log."""

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

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Simulator:
    """One organization and everything around it. All methods belong to the thread that serves requests."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        schema = schema_of(read_schema(*(settings.tables or (TABLES,)), *settings.more_tables))
        self.organization = Organization(schema, switches=settings.switches, seed=settings.seed, clock=clock)
        self.organization.log.limit = settings.oplog_entries
        self.protection = Protection(settings.limits)
        self.issuer = TokenIssuer(tenant.TENANT_ID, clock)
        self.gate = Gate(settings.auth, self.organization, self.issuer, settings.tokens)
        self.rules = Rules(settings.seed)
        for rule in settings.faults:
            self.rules.add(rule)
        self.latency = settings.latency
        self.dice = random.Random(f"{settings.seed}/latency")  # noqa: S311 - reproducible, not secret
        self.server_dice = random.Random(f"{settings.seed}/servers")  # noqa: S311 - as above
        self.numbers = itertools.count(1)
        self.requests: deque[Seen] = deque(maxlen=100_000)
        self.request_count = 0
        self._saved = 0
        self.operation_count = 0
        self._file = SqliteFile(settings.sqlite) if settings.sqlite else None
        if not self._resume():
            self.seed_tenant(only=None if settings.seed_rows else _USERS)

    def _resume(self) -> bool:
        """Go on from the SQLite file. False when there is none or it is new."""
        if self._file is None:
            return False
        organization, held = self.organization, self._file.load()
        entries = [Entry.from_dict(plain) for plain in self._file.entries(organization.log.limit)]
        organization.store.restore(held)
        organization.log.resume(entries)
        self._saved = organization.log.last
        if entries:
            # No id, etag or request number is given twice: rows that are gone live on in the log.
            organization.ids = SequentialIds(f"{self.settings.seed}/{self._saved}")
            newest = max((entry.after.version for entry in entries if entry.after), default=0)
            organization.store.version = max(organization.store.version, newest)
            self.numbers = itertools.count(max(entry.request for entry in entries) + 1)
        organization.store.on_commit = self._save
        return bool(held.rows or entries)

    def _save(self, changes: list[Change]) -> None:
        """After every transaction: its rows, and the log as far as it is new."""
        if self._file is not None:
            log = self.organization.log
            self._file.save(changes, [entry.to_dict() for entry in log.since(self._saved)])
            self._saved = log.last

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
        with self.organization.atomic():
            return [write.create(self.organization, call, table, row) for row in rows]

    def edit(self, entity_set: str, record_id: str, values: dict[str, Any] | None, user: str | None = None) -> None:
        """A person changes a row, or deletes it (`values` None)."""
        call = Call(user=user or tenant.PERSON, actor=PERSON)
        table = self.table(entity_set)
        with self.organization.atomic():
            if values is None:
                write.delete(self.organization, call, table, record_id.lower())
            else:
                write.update(self.organization, call, table, record_id.lower(), values)

    def rows(self, entity_set: str) -> list[dict[str, Any]]:
        """Every row of a table, with its etag."""
        table = self.table(entity_set)
        names = table.view_of or (table.logical_name,)
        rows = (row for name in names for row in self.organization.store.table(name).values())
        return [{"@odata.etag": row.etag, **row.values} for row in rows]

    def snapshot(self) -> Snapshot:
        return self.organization.store.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        self.organization.store.restore(snapshot)
        if self._file is not None:
            self._file.replace(snapshot)

    def counters(self) -> dict[str, Any]:
        """Totals, and the use of every limit."""
        store = self.organization.store
        return {
            "requests": self.request_count,
            "operations": self.operation_count,
            "oplog_last": self.organization.log.last,
            "rows": {
                table.logical_name: sum(len(store.table(name)) for name in table.view_of or (table.logical_name,))
                for table in self.organization.schema
            },
            "limits": self.protection.counters(self.organization.clock()),
        }
