"""The organization: its tables, rows, log, users and switches, and the transactions over them."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from simulator import errors, tenant
from simulator.crm import keys
from simulator.crm.call import APPLICATION, Call
from simulator.crm.fields import Fields, fields_of
from simulator.ids import SequentialIds
from simulator.oplog import COMMITTED, REFUSED, Entry, OperationLog
from simulator.schema import Column, Schema, Table, default_schema
from simulator.store import Row, Store
from simulator.switches import Switches

Clock = Callable[[], float]
_NO_KEYS: Mapping[str, tuple[str, ...]] = {}


class _Atomic:
    """All or nothing, in the store and in the log. May be nested; only the outermost transaction commits.

    One object for all transactions, because each operation has one.
    """

    __slots__ = ("_marks", "_organization")

    def __init__(self, organization: "Organization") -> None:
        self._organization = organization
        self._marks: list[tuple[int, int]] = []

    def __enter__(self) -> None:
        organization = self._organization
        self._marks.append((organization.store.mark(), organization.log.last))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        organization = self._organization
        mark, entry = self._marks.pop()
        if kind is not None:
            self._undo(mark, entry)
        if not self._marks:
            try:
                organization.store.commit()
            except BaseException:
                self._undo(mark, entry)
                raise

    def _undo(self, mark: int, entry: int) -> None:
        self._organization.store.rollback(mark)
        self._organization.log.rolled_back_since(entry)


class Organization:
    """Everything behind the Web API, in one thread. `clock` gives seconds since 1970."""

    def __init__(
        self,
        schema: Schema | None = None,
        *,
        switches: Switches | None = None,
        seed: int = 0,
        clock: Clock = time.time,
    ) -> None:
        self.schema = schema or default_schema()
        self.switches = switches or Switches()
        self.store = Store()
        self.log = OperationLog()
        self.clock = clock
        self.ids = SequentialIds(seed)
        self.denied: dict[tuple[str, str], frozenset[str]] = {}
        # Privileges without a table that were taken from a user, and who may act on behalf of others.
        self.withheld: dict[str, frozenset[str]] = {}
        self.delegates: set[str] = set()
        # Table to the columns of which no two rows may have the same value, for those who ask for it.
        self.duplicate_rules: dict[str, tuple[str, ...]] = {}
        self.permitted: dict[tuple[str, str], Mapping[str, frozenset[str]]] = {}
        # Who reads now; None is the system. It belongs to `handle`, which puts the reader before back.
        self.reader: Call | None = None
        self.atomic = _Atomic(self)
        self._second = 0
        self._now = ""
        self._fields: dict[tuple[str, bool], tuple[Table, Switches, Fields]] = {}

    def now(self) -> str:
        """The current second, as rows show it."""
        second = int(self.clock())
        if self._second != second:
            self._second, self._now = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._now

    @property
    def activity_keys(self) -> bool:
        return self.switches.activity_keys == "yes"

    def keys_of(self, table: Table) -> Mapping[str, tuple[str, ...]]:
        """Alternate keys that are in force."""
        return table.keys if table.keys and (not table.activity or self.activity_keys) else _NO_KEYS

    def fields(self, table: Table, *, creating: bool) -> Fields:
        """What a body may say of the columns of a table, as the table and the switches are now."""
        held = self._fields.get((table.logical_name, creating))
        if held is None or held[0] is not table or held[1] is not self.switches:
            held = table, self.switches, fields_of(table, self.switches, creating=creating)
            self._fields[table.logical_name, creating] = held
        return held[2]

    def key(self, table: Table, text: str) -> keys.Key:
        return keys.parse(table, text, self.switches)

    def locate(self, table: Table, key: keys.Key) -> str | None:
        """The record id that a key names now, or None when no row has those values."""
        return key.record_id or keys.find(self.store, table, key.values)

    def row(self, table: Table, record_id: str) -> Row | None:
        if not table.view_of:
            return self.store.get(table.logical_name, record_id)
        return next((row for name in table.view_of if (row := self.store.get(name, record_id))), None)

    def existing(self, table: Table, key: keys.Key) -> tuple[str, Row]:
        """The row a key names. Raises the 404 of a missing id or of missing key values."""
        record_id = self.locate(table, key)
        row = self.row(table, record_id) if record_id else None
        if record_id is None or row is None:
            raise self.missing(table, record_id)
        return record_id, row

    def missing(self, table: Table, record_id: str | None) -> errors.Refusal:
        if record_id is None:
            return errors.missing_by_key(table.logical_name)
        refusal = errors.missing(table.logical_name, record_id)
        if self.switches.missing_code == "none":
            return errors.Refusal(404, "", f"{table.logical_name} With Id = {record_id} Does Not Exist")
        return refusal

    def allow(self, call: Call, verb: str, table: Table) -> None:
        """Raises the 403 of a missing privilege. Verbs: create, read, write, delete.

        Who acts on behalf of somebody may do what both of them may.
        """
        if not self.denied:
            return
        for user in (call.user, call.on_behalf_of):
            if user is not None and verb in self.denied.get((user, table.logical_name), ()):
                raise errors.privilege(user, verb, table.logical_name, table.type_code)

    def allow_named(self, call: Call, privilege: str) -> None:
        """Raises the 403 of a missing privilege that belongs to no table."""
        for user in (call.user, call.on_behalf_of):
            if user is not None and privilege in self.withheld.get(user, ()):
                raise errors.lacks(user, privilege)

    def deny(self, user: str, table: str, verbs: frozenset[str]) -> None:
        """Take privileges of one table away from a user; an empty set gives them back."""
        if verbs:
            self.denied[user, table] = verbs
        else:
            self.denied.pop((user, table), None)

    def permit(self, user: str, table: Table, columns: Mapping[str, frozenset[str]]) -> None:
        """What a user may do (create, read, update) with secured columns. Raises ValueError for any other column."""
        wrong = [name for name in columns if name not in table.columns or not table.columns[name].secured]
        if wrong:
            raise ValueError(f"{table.logical_name} has no secured column {', '.join(wrong)}")
        self.permitted[user, table.logical_name] = columns

    def may(self, call: Call, verb: str, table: Table, column: Column) -> bool:
        """Whether a caller may create, read or update a column. Column-level security binds applications only here."""
        if not column.secured or call.actor != APPLICATION:
            return True
        return verb in self.permitted.get((call.user, table.logical_name), {}).get(column.name, ())

    @property
    def reading_user(self) -> str:
        """The user who reads now; the system when nobody does."""
        return self.reader.user if self.reader else tenant.SYSTEM_USER

    @property
    def base(self) -> str:
        """The service root of what is read now."""
        return self.reader.base if self.reader else ""

    def allow_reader(self, table: Table) -> None:
        """Raises the 403 of a reader without the privilege to read a table that is joined or expanded."""
        if self.reader is not None:
            self.allow(self.reader, "read", table)

    def teams_of(self, user: str) -> list[str]:
        """The teams that a user is a member of."""
        if "teammembership" not in self.schema.by_name:
            return []
        rows = self.store.table("teammembership")
        return [rows[key].values["teamid"] for key in self.store.matching("teammembership", "systemuserid", user)]

    def hidden(self, table: Table) -> frozenset[str]:
        """Columns that the reader may not see, under the names they are read by: null in every answer."""
        reader = self.reader
        if reader is None or not table.secured:
            return frozenset()
        return frozenset(wire for wire in table.secured if not self.may(reader, "read", table, table.by_wire[wire]))

    def record(
        self,
        call: Call,
        operation: str,
        place: tuple[str, str, str],
        change: tuple[Row | None, Row | None] = (None, None),
        refusal: errors.Refusal | None = None,
    ) -> None:
        """Log a write that was done, or refused. `place` is table, record id and precondition, each as far as known."""
        entry = Entry()
        entry.at = self.clock()
        entry.request = call.number
        entry.change_set = call.change_set
        entry.position = call.position
        entry.user = call.user
        entry.actor = call.actor
        entry.operation = operation
        entry.table, entry.record_id, entry.precondition = place
        if refusal is None:
            entry.outcome, entry.status, entry.code = COMMITTED, 0, ""
        else:
            entry.outcome, entry.status, entry.code = REFUSED, refusal.status, refusal.code
        entry.answer = call.answer
        entry.before, entry.after = change
        self.log.append(entry)

    def user_of_application(self, client_id: str) -> str:
        """The application user of a client id. Raises the refusal when there is none or it is disabled."""
        for record_id in self.store.matching("systemuser", "applicationid", client_id):
            self.check_enabled(record_id)
            return record_id
        refusal = errors.not_a_member()
        raise errors.Refusal(int(self.switches.not_a_member_status), refusal.code, refusal.message)

    def check_enabled(self, user: str) -> None:
        row = self.store.get("systemuser", user)
        if row is None:
            refusal = errors.not_a_member()
            raise errors.Refusal(int(self.switches.not_a_member_status), refusal.code, refusal.message)
        if row.values.get("isdisabled"):
            raise errors.disabled_caller(user)

    def who_am_i(self, call: Call) -> dict[str, Any]:
        return {
            "@odata.context": f"{call.base}/$metadata#Microsoft.Dynamics.CRM.WhoAmIResponse",
            "BusinessUnitId": tenant.BUSINESS_UNIT,
            "UserId": call.user,
            "OrganizationId": tenant.ORGANIZATION_ID,
        }
