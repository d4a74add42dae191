"""What an environment has and who may do what in it: for a person who sets the system up. The writer itself asks none
of it.

Privileges are compared by their ids: a table's metadata lists its own, and a user's list says which of them it has.
Names would mislead, since all kinds of activities share theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from writer.core.batch import Request, Succeeded
from writer.core.mapping_check import LiveTable
from writer.core.replies import Judgement, Kind, Meaning
from writer.dataverse.metadata import (
    QUESTIONS_PER_TABLE,
    TableFacts,
    questions,
    shown_label,
    table_facts,
    without_concurrency,
)
from writer.dataverse.pool import Pool
from writer.errors import MetadataUnavailable

_CATALOGUE = Request(
    "GET",
    "EntityDefinitions?$select=LogicalName,EntitySetName,PrimaryIdAttribute,DisplayName,IsCustomEntity,"
    "IsOptimisticConcurrencyEnabled",
)
_NONSENSE = Judgement(Kind.TRANSIENT, Meaning.SUSPECT)
_NOT_FOUND = 404
_AT_ONCE = 65
"""Questions in one request: five tables, whose description stays well below the largest reply."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """A privilege that a user does not have, or has for its own rows only. `name` is the environment's. `table` and
    `access` are "" for one that belongs to no table.
    """

    table: str
    access: str
    name: str
    own_rows_only: bool


class TenantReader:
    """Reads an environment through one application user. Every method raises MetadataUnavailable."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def tables(self, describe: Collection[str] = ()) -> dict[str, LiveTable]:
        """All tables by logical name, with the columns of those to describe."""
        [catalogue] = await self._asked([_CATALOGUE])
        try:
            tables = {each.logical_name: each for each in map(_table, catalogue["value"]) if each.entity_set}
            sets, bare = {name: each.entity_set for name, each in tables.items()}, without_concurrency(catalogue)
            names = sorted(tables.keys() & set(describe))
            answers = await self._asked([question for name in names for question in questions(name)])
            for number, name in enumerate(names):
                own = answers[number * QUESTIONS_PER_TABLE : (number + 1) * QUESTIONS_PER_TABLE]
                facts = table_facts(own, sets, optimistic_concurrency=sets[name] not in bare, logical_name=name)
                tables[name] = replace(tables[name], table=facts.table, lookups=_lookups(facts))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise MetadataUnavailable(_NONSENSE) from None
        return tables

    async def lacking(
        self,
        wanted: Mapping[str, Sequence[str]],
        *,
        own_rows: Collection[str] = (),
        named: Collection[str] = (),
        user: str | None = None,
    ) -> list[Lacking]:
        """`wanted`: a table's logical name to kinds of access such as `Read` and `AppendTo`. `own_rows`: those of which
        the user needs what it made itself alone. `named`: privileges that belong to no table. Tables that do not exist
        lack nothing, and so does a user that does not exist. `user`: who signed in, if not given.
        """
        if user is None:
            [who] = await self._asked([Request("GET", "WhoAmI")])
            user = str(who.get("UserId"))
        held_by = Request("GET", f"systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()")
        asked = [Request("GET", f"EntityDefinitions(LogicalName='{name}')?$select=Privileges") for name in wanted]
        held, *tables = await self._asked([held_by, *asked], absent=_ABSENT)
        if held is _ABSENT:
            return []
        try:
            own = dict(zip(wanted, (table.get("Privileges") or () for table in tables), strict=True))
            of_tables = lacking(wanted, own, held["RolePrivileges"], own_rows=own_rows)
            return [*of_tables, *lacking_named(named, held["RolePrivileges"])]
        except (AttributeError, KeyError, TypeError):
            raise MetadataUnavailable(_NONSENSE) from None

    async def _asked(self, asked: Sequence[Request], *, absent: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """`absent`, if given, takes the place of what is not there."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(asked), _AT_ONCE):
            some = asked[start : start + _AT_ONCE]
            exchange = await self._pool.exchange(some, operation="metadata", consistency="Strong")
            for reply in exchange.parts:
                match reply.answer:
                    case Succeeded((one,)) if isinstance(body := one.json(), dict):
                        found.append(body)
                    case Succeeded():
                        raise MetadataUnavailable(_NONSENSE)
                    case _ if absent is not None and reply.judgement.status == _NOT_FOUND:
                        found.append(absent)
                    case _:
                        raise MetadataUnavailable(reply.judgement)
        return found


def lacking(
    wanted: Mapping[str, Sequence[str]],
    of_tables: Mapping[str, Sequence[dict[str, Any]]],
    held: Sequence[dict[str, Any]],
    *,
    own_rows: Collection[str] = (),
) -> list[Lacking]:
    """`of_tables`: a table to the privileges in its metadata; `held`: what the user's roles grant, some repeatedly."""
    ids = {str(each["PrivilegeId"]).lower() for each in held}
    wide = {str(each["PrivilegeId"]).lower() for each in held if each.get("Depth") != _OWN_ROWS}
    return [
        Lacking(name, access, str(each["Name"]), own_rows_only=str(each["PrivilegeId"]).lower() in ids)
        for name, accesses in wanted.items()
        for access in accesses
        for each in of_tables.get(name, ())
        if each["PrivilegeType"] == access
        and str(each["PrivilegeId"]).lower() not in (ids if name in own_rows else wide)
    ]


def lacking_named(named: Collection[str], held: Sequence[dict[str, Any]]) -> list[Lacking]:
    """Privileges that belong to no table, and so are in no table's metadata, have names of their own."""
    names = {str(each.get("PrivilegeName")).lower() for each in held}
    return [Lacking("", "", name, own_rows_only=False) for name in named if name.lower() not in names]


_ABSENT: dict[str, Any] = {}
_OWN_ROWS = "Basic"
"""The depth of a privilege for rows that the user owns."""


def _table(one: dict[str, Any]) -> LiveTable:
    return LiveTable(
        one["LogicalName"], one["EntitySetName"] or "", one["PrimaryIdAttribute"] or "",
        shown_label(one.get("DisplayName")), one.get("IsCustomEntity") is True,
    )  # fmt: skip


def _lookups(facts: TableFacts) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for binding, targets in facts.table.links.items():
        column = facts.read_properties[binding].removeprefix("_").removesuffix("_value")
        found.setdefault(column, {}).update(dict.fromkeys(targets, binding.partition("@")[0]))
    return found
