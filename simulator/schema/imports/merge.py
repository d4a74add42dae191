"""All files together: option sets to their columns, lookups to tables that are there, and what is missing named."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from simulator.schema.imports import csdl, definitions
from simulator.schema.imports.found import Found, Plain

# Sign-in, ownership and seeding rely on the columns of these, so the simulator's own stay.
KEPT = frozenset({"businessunit", "systemuser", "team"})
# What all activities have in common is worked out by the simulator, where it has these.
ACTIVITY_TABLES = frozenset({"activityparty", "activitypointer"})
_NAMED = 5


@dataclass(frozen=True)
class Imported:
    """Table definitions as in a table file, and one line for each kind of thing that could not be taken over."""

    tables: list[Plain]
    remarks: list[str]


def read_files(files: Iterable[Path], wanted: Iterable[str] = (), present: Iterable[str] = ()) -> Imported:
    """The tables of some files, all of them or those `wanted`. `present` are tables that are there anyway.

    Raises ValueError with the file's name for a file that cannot be read, and for a wanted table that no file has.
    """
    found = Found()
    for file in files:
        content = file.read_bytes()
        reader = csdl if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") else definitions
        try:
            reader.read(content, found)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{file}: not as the Web API writes it: {error!r}") from error
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    definitions.finish(found)
    chosen = set(wanted) or set(found.tables)
    missing = sorted(chosen - found.tables.keys())
    if missing:
        raise ValueError(f"no file has the table {', '.join(missing)}")
    there = set(present)
    kept = KEPT | (ACTIVITY_TABLES & there)
    for name in sorted(chosen & kept):
        found.remark("tables that stay the simulator's own", name)
    tables = {name: found.tables[name] for name in found.tables if name in chosen - kept}
    known = {*tables, *there, *kept}
    for table in tables.values():
        if table["activity"] and "activitytypecode" in table["columns"]:
            table["columns"]["activitytypecode"]["default"] = table["table"]
        _options(table, found)
        _states(table, found)
        _targets(table, known, found)
        _keys(table, found)
    return Imported(list(tables.values()), [_line(what, where) for what, where in found.remarks.items()])


def _options(table: Plain, found: Found) -> None:
    for name, column in table["columns"].items():
        options = found.options.get((table["table"], name))
        if options:
            column["options"] = options
        elif column["type"] == "picklist":
            column["type"] = "integer"
            column.pop("default", None)
            found.remark("choices whose options no file has, which take any whole number", f"{table['table']}.{name}")


def _states(table: Plain, found: Found) -> None:
    states, statuses = found.states.get(table["table"]), found.statuses.get(table["table"])
    if not states or not statuses:
        found.remark("tables whose states no file has, which are Active and Inactive", table["table"])
        return
    table["states"] = {}
    for value, state in states.items():
        mine = {status: label for status, label, of in statuses if of == value}
        default = state["default"] if state["default"] in mine else next(iter(mine), None)
        if default is not None:
            table["states"][value] = {"label": state["label"], "default": default, "statuses": mine}


def _targets(table: Plain, known: set[str], found: Found) -> None:
    for name, column in list(table["columns"].items()):
        if column["type"] != "lookup":
            continue
        gone = [target for target in column["targets"] if target not in known]
        for target in gone:
            del column["targets"][target]
        if not column["targets"]:
            del table["columns"][name]
            found.remark("lookups to tables that are not here, left out", f"{table['table']}.{name}")
        elif gone:
            found.remark("lookups of which some target tables are not here", f"{table['table']}.{name}")


def _keys(table: Plain, found: Found) -> None:
    there = {*table["columns"], "ownerid", "statecode", "statuscode"}
    for key, names in list(table["keys"].items()):
        if not there.issuperset(names):
            del table["keys"][key]
            found.remark("alternate keys on columns that are not here, left out", f"{table['table']}.{key}")
    if table["name"] not in {*table["columns"], table["id"]}:
        table["name"] = table["id"]


def _line(what: str, where: list[str]) -> str:
    more = f" and {len(where) - _NAMED} more" if len(where) > _NAMED else ""
    return f"{len(where)} {what}: {', '.join(where[:_NAMED])}{more}"
