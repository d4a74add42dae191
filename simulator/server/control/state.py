"""Rows and tables from outside: seeding, edits by persons, snapshots, tables, drift."""

from dataclasses import replace
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter

from simulator.schema import table_from
from simulator.schema.load import SERVICE_COLUMNS, check_lookups, check_set
from simulator.seeding import rows_from_csv
from simulator.server.control.desk import Asked, ControlError, Desk, Routes
from simulator.store import Snapshot, durable

Answer = Any
_ROWS = TypeAdapter(list[dict[str, Any]])


class _Edit(Asked):
    set: str
    id: str
    values: dict[str, Any] | None
    user: str | None = None


async def seed(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """Rows for the set in the path: JSON list of bodies, or CSV with a header line."""
    raw = await http.content.read()
    if "csv" in http.headers.get("Content-Type", ""):
        rows = rows_from_csv(control.simulator.table(rest), raw.decode("utf-8"))
    else:
        rows = _ROWS.validate_json(raw)
    return {"ids": control.simulator.seed(rest, rows)}


async def edit(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """A person's edit: {"set", "id", "values" (null deletes), "user"?}."""
    del rest
    asked = _Edit.model_validate(await control.body(http))
    control.simulator.edit(asked.set, asked.id, asked.values, asked.user)
    return {"seq": control.simulator.organization.log.last}


async def put_table(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """Replace or add a table by its definition, as in a table file. Rows stay as they are."""
    table = table_from(await control.body(http), source=rest or "body")
    schema = control.simulator.organization.schema
    check_set(schema, table)
    check_lookups(schema, table)
    schema.put(table)
    return {"table": table.logical_name, "columns": list(table.columns)}


async def drop_column(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """`columns/<table>/<column>`: metadata drift."""
    del http
    name, _, column = rest.partition("/")
    schema = control.simulator.organization.schema
    table = control.simulator.table(name)
    if column not in table.columns:
        raise ControlError(f"no column '{column}' in '{name}'", 404)
    if column in (table.primary_id, *SERVICE_COLUMNS):
        raise ControlError(f"the service itself needs '{column}' of '{name}'")
    kept = {key: value for key, value in table.columns.items() if key != column}
    keys = {key: names for key, names in table.keys.items() if column not in names}
    schema.put(replace(table, columns=kept, keys=keys))
    return {"columns": list(kept)}


async def snapshot(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """All rows as JSON, to be put back with PUT."""
    del http, rest
    return durable.to_json(control.simulator.snapshot())


async def restore(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    del rest
    kept = durable.from_json(await control.body(http))
    unknown = sorted(
        name for name in kept.rows if kept.rows[name] and name not in control.simulator.organization.schema.by_name
    )
    if unknown:
        raise ControlError(f"the snapshot has rows of tables that are not here: {', '.join(unknown)}")
    control.simulator.restore(kept)
    return control.simulator.counters()["rows"]


async def snapshots(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """Names of the snapshots that are kept in memory, with how many rows each has."""
    del http, rest
    return {
        "snapshots": {name: sum(map(len, kept.rows.values())) for name, kept in control.simulator.snapshots.items()}
    }


async def take_snapshot(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """`snapshots/<name>`: keep all rows as they are now under a name, in memory."""
    if not rest:
        raise ControlError("a snapshot needs a name: PUT /_control/snapshots/<name>")
    control.simulator.snapshots[rest] = control.simulator.snapshot()
    return await snapshots(control, http, rest)


async def go_back(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """`snapshots/<name>`: all rows as they were when it was taken."""
    del http
    control.simulator.restore(_snapshot(control, rest))
    return control.simulator.counters()["rows"]


async def drop_snapshot(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """`snapshots/<name>`: forget it."""
    _snapshot(control, rest)
    del control.simulator.snapshots[rest]
    return await snapshots(control, http, rest)


def _snapshot(control: Desk, name: str) -> Snapshot:
    if name not in control.simulator.snapshots:
        raise ControlError(f"no snapshot '{name}'", 404)
    return control.simulator.snapshots[name]


async def reset(control: Desk, http: web.BaseRequest, rest: str) -> Answer:
    """As at the start: rows, log, faults, messages, latency, limits, switches, privileges. Tables and sign-in stay."""
    del http, rest
    control.simulator.reset()
    return control.simulator.counters()["rows"]


ROUTES: Routes = {
    ("POST", "reset"): reset,
    ("GET", "snapshots"): snapshots,
    ("PUT", "snapshots"): take_snapshot,
    ("POST", "snapshots"): go_back,
    ("DELETE", "snapshots"): drop_snapshot,
    ("POST", "seed"): seed,
    ("POST", "edit"): edit,
    ("PUT", "tables"): put_table,
    ("DELETE", "columns"): drop_column,
    ("GET", "snapshot"): snapshot,
    ("PUT", "snapshot"): restore,
}
