"""A mapping file from what the CRM has: from a scaffold, and from nothing by suggestions. No I/O.

What a person wrote into the scaffold is taken. Everything else is a suggestion with its reason, or a list of what there
is to choose from, and the planner refuses the file until a person has taken each of these lines out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from planner.mapping import (
    CONCEPTS,
    OPTIONS,
    OWNER_TABLES,
    TASK_OWNERS,
    USUAL_TABLES,
    Concept,
    EntityName,
    squeezed,
    usual_words,
    words_of,
)
from schemas.records import OwnerKind
from writer.core.gate import Column, ColumnType
from writer.core.mapping_check import LiveTable

Json = dict[str, Any]
Tables = Mapping[str, LiveTable]
"""By logical name; those in question with their columns."""

QUEUE_ITEM: EntityName = "queue_item"
TAKEN_AS_GIVEN = ("fixed_values", "activity_parties", "caller")
"""Sections that only people can fill; `mapping verify` compares them with the CRM."""
_WORDS_OF_QUEUES = ("queueitem", "callqueue", "callitem", "calllist", "prospect", "dial", "outreach", "call")
_MOST_TABLES, _MOST_OTHERS = 6, 8
_EXACT, _PART, _SHORTEST = 2, 1, 5
_ENOUGH = 4
"""So many of the queue item's columns have to be found by their names before a table is suggested."""

_TYPES: Mapping[ColumnType, str] = {
    ColumnType.STRING: "string",
    ColumnType.INTEGER: "integer",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.OPTION: "optionset",
    ColumnType.TIME: "datetime",
}


@dataclass
class _File:
    """The file as it grows."""

    scaffold: Json
    tables: Tables
    content: Json
    suggestions: dict[str, str] = field(default_factory=dict)

    def given(self, section: str, name: str) -> Json:
        held = self.scaffold.get(section)
        entry = held.get(name) if isinstance(held, dict) else None
        return entry if isinstance(entry, dict) else {}

    def table_of(self, word: str) -> LiveTable | None:
        entry = self.content["entities"].get(word)
        return self.tables.get(entry["logical_name"]) if entry else None


def tables_to_read(scaffold: Json, tables: Tables) -> set[str]:
    """Of which tables the columns are needed."""
    named = {word: _File(scaffold, tables, {}).given("entities", word).get("logical_name") for word in _entity_names()}
    wanted = {str(name) for name in named.values() if name} | set(USUAL_TABLES.values())
    return wanted if named[QUEUE_ITEM] else wanted | set(_like_queues(tables))


def discovered(
    scaffold: Json, tables: Tables, *, environment: str, at: str, owner_names: Mapping[str, str] | None = None
) -> Json:
    """The content of a mapping file, unapproved. `owner_names` by their ids."""
    file = _File(scaffold, tables, {"_meta": _meta(environment, at), "entities": {}, "fields": {}, "option_sets": {}})
    for word in _entity_names():
        _entity(file, word)
    _fields(file)
    for name, concept in OPTIONS.items():
        _option(file, name, concept)
    file.content["owners"] = dict(_owners(file, owner_names or {}))
    _kept_columns(file)
    taken = {name: scaffold[name] for name in TAKEN_AS_GIVEN if name in scaffold}
    return {**file.content, **taken, "suggestions": file.suggestions}


def _meta(environment: str, at: str) -> Json:
    return {
        "schema_version": "1", "discovered_at": at, "environment": environment, "approved": False, "approved_by": None,
        "approved_at": None,
    }  # fmt: skip


def _entity_names() -> tuple[EntityName, ...]:
    return get_args(EntityName)


def _entity(file: _File, word: EntityName) -> None:
    given = file.given("entities", word).get("logical_name")
    place = f"entities.{word}"
    if given and given in file.tables:
        chosen = given
    elif word in USUAL_TABLES and USUAL_TABLES[word] in file.tables and not given:
        chosen = USUAL_TABLES[word]
        file.suggestions[place] = f"{chosen} is the table that every environment has for it"
    else:
        chosen, why = _queue_table(file.tables) if word == QUEUE_ITEM else (None, "name its table")
        file.suggestions[place] = f"the CRM has no table {given}; {why}" if given else why
    if chosen:
        live = file.tables[chosen]
        file.content["entities"][word] = {
            "logical_name": live.logical_name, "entity_set_name": live.entity_set, "primary_id": live.primary_id,
        }  # fmt: skip


def _like_queues(tables: Tables) -> list[str]:
    """Tables that somebody here made, and whose name or label speaks of calls or queues, the likeliest first."""

    def words(table: LiveTable) -> int:
        shown = squeezed(table.logical_name) + squeezed(table.label or "")
        return sum(word in shown for word in _WORDS_OF_QUEUES)

    likely = {each.logical_name: words(each) for each in tables.values() if each.custom and words(each)}
    return sorted(likely, key=lambda name: (-likely[name], name))[:_MOST_TABLES]


def _queue_table(tables: Tables) -> tuple[str | None, str]:
    """The table that has most of the queue item's columns, and why; None if no one is ahead of all others."""
    concepts = {name: each for name, each in CONCEPTS.items() if each.entity == QUEUE_ITEM}
    found = {
        name: sum(any(_score(c, n, col) >= _EXACT for n, col in _fitting(live, each)) for c, each in concepts.items())
        for name in _like_queues(tables)
        if (live := tables[name]).table
    }
    best = sorted(found, key=lambda name: -found[name])
    if best and found[best[0]] >= _ENOUGH and (len(best) == 1 or found[best[1]] < found[best[0]]):
        return best[0], f"{found[best[0]]} of {len(concepts)} columns of a queue item are found in it by their names"
    listed = f"; {', '.join(best)} may be it" if best else ""
    return None, f"name the table of the queue items with --queue-table{listed}"


def _fitting(live: LiveTable, concept: Concept) -> Iterator[tuple[str, Column]]:
    """Columns of the right type that may be read, and written if the planner writes them."""
    for name, column in (live.table.columns if live.table else {}).items():
        writable = column.valid_for_update and not column.computed
        if _type(live, name, column) == concept.type and column.valid_for_read and (writable or not concept.written):
            yield name, column


def _type(live: LiveTable, name: str, column: Column) -> str | None:
    return "lookup" if name in live.lookups else _TYPES.get(column.type)


def _score(concept: str, name: str, column: Column) -> int:
    """How well a column's name and label speak of a concept."""
    usual = usual_words(concept)

    def score(shown: set[str]) -> int:
        part = any(len(word) >= _SHORTEST and word in each for word in usual for each in shown)
        return _EXACT if shown & set(usual) else _PART if part else 0

    return score(words_of(name)) + score(words_of(column.label))


def _fields(file: _File) -> None:
    """What the scaffold names comes first, so that no suggestion takes it; then the surest suggestions."""
    open_ones: dict[str, str] = {}
    for name, concept in CONCEPTS.items():
        live = file.table_of(concept.entity)
        given = file.given("fields", name).get("logical_name")
        if live and live.table and given in live.table.columns:
            _keep(file, name, live, str(given))
        elif live and (given or "fields" not in file.scaffold or concept.required):
            open_ones[name] = f"the table has no column {given}; " if given else ""
    best = {name: _best(file, name) for name in open_ones}
    for name in sorted(open_ones, key=lambda name: -best[name][0]):
        _suggest(file, name, open_ones[name])


def _best(file: _File, name: str) -> tuple[int, list[str]]:
    """The highest score of a free column, and the columns that have it."""
    free = _free(file, name)
    highest = max(free.values(), default=0)
    return highest, [column for column, score in free.items() if score == highest and score]


def _free(file: _File, name: str) -> dict[str, int]:
    concept = CONCEPTS[name]
    live = file.table_of(concept.entity)
    taken = {each["logical_name"] for each in file.content["fields"].values() if each["entity"] == concept.entity}
    fitting = _fitting(live, concept) if live else ()
    free = {column: _score(name, column, shown) for column, shown in fitting if column not in taken}
    target = file.table_of(concept.target) if concept.target else None
    if live is None or target is None:
        return free
    to_target = [column for column in free if target.entity_set in live.lookups.get(column, {})]
    return {column: free[column] + _PART for column in to_target}  # where it points to speaks as well


def _suggest(file: _File, name: str, prefix: str) -> None:
    concept = CONCEPTS[name]
    live = file.table_of(concept.entity)
    highest, columns = _best(file, name)
    others = [column for column in _free(file, name) if columns != [column]]
    listed = f"; other {concept.type} columns: {_some(others)}" if others else ""
    sure = len(columns) == 1 and (concept.required or concept.target or highest >= _EXACT)
    if live and live.table and sure:
        _keep(file, name, live, columns[0])
        label = live.table.columns[columns[0]].label
        file.suggestions[f"fields.{name}"] = (
            f"{prefix}{columns[0]}{_called(label)} by its {'target' if concept.target else 'name'}{listed}"
        )
    elif concept.required or prefix:
        file.suggestions[f"fields.{name}"] = f"{prefix}no column speaks of it alone; choose one{listed}"


def _called(label: str | None) -> str:
    return f' ("{label}")' if label else ""


def _some(names: Collection[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - _MOST_OTHERS} more" if len(listed) > _MOST_OTHERS else ""
    return ", ".join(listed[:_MOST_OTHERS]) + more


def _keep(file: _File, name: str, live: LiveTable, column: str) -> None:
    """Types, lengths and lookups are the CRM's; a label that was reviewed stays, so that a swap is noticed."""
    concept, given = CONCEPTS[name], file.given("fields", name)
    shown = live.table.columns[column] if live.table else Column(ColumnType.OTHER)
    entry: Json = {"entity": concept.entity, "logical_name": column, "type": _type(live, column, shown) or concept.type}
    if entry["type"] == "lookup":
        entry |= _target(file, name, live.lookups.get(column, {}))
    if label := given.get("label") or shown.label:
        entry["label"] = label
    if shown.type is ColumnType.STRING and shown.max_length:
        entry["max_length"] = min(shown.max_length, given.get("max_length") or shown.max_length)
    if concept.written:
        entry["approved_update_field"] = True
    file.content["fields"][name] = entry


def _target(file: _File, name: str, lookups: Mapping[str, str]) -> Json:
    """Where a lookup points: to the concept's table, to the scaffold's, or to the only one there is."""
    logical = {each.entity_set: each.logical_name for each in file.tables.values()}
    wanted = CONCEPTS[name].target
    table = file.table_of(wanted) if wanted else file.tables.get(str(file.given("fields", name).get("target")))
    entity_set = table.entity_set if table else next(iter(lookups), "") if len(lookups) == 1 else ""
    if entity_set not in lookups:
        names = [logical.get(each, each) for each in lookups]
        file.suggestions[f"fields.{name}.target"] = f"name the table that it points to, one of: {_some(names)}"
        return {}
    return {"target": logical[entity_set], "navigation": lookups[entity_set]}


def _option(file: _File, name: str, concept: str) -> None:
    mapped, given, place = file.content["fields"].get(concept), file.given("option_sets", name), f"option_sets.{name}"
    live = file.table_of(CONCEPTS[concept].entity)
    if mapped is None or live is None or live.table is None:
        return  # its column is named as missing
    shown = live.table.columns[mapped["logical_name"]]
    by_label = {squeezed(label): value for value, label in shown.labels.items()}
    value = given.get("value", by_label.get(squeezed(str(given.get("label") or ""))))
    if value is None or value not in (shown.options or ()):
        prefix = "" if value is None else f"{mapped['logical_name']} has no option {value}; "
        value = next((by_label[word] for word in usual_words(name) if word in by_label), None)
        listed = ", ".join(f'{each} "{label}"' for each, label in sorted(shown.labels.items()))
        chosen = "choose one" if value is None else f'{value} "{shown.labels[value]}" by its label'
        file.suggestions[place] = f"{prefix}{chosen}; the options of {mapped['logical_name']}: {listed}"
        given = {}
    if value is not None:
        label = given.get("label") or shown.labels.get(value)
        file.content["option_sets"][name] = {"field": concept, "value": value} | ({"label": label} if label else {})


def _owners(file: _File, names: Mapping[str, str]) -> Iterator[tuple[str, Json]]:
    for word in TASK_OWNERS:
        given = file.given("owners", word)
        if given.get("id"):
            name = given.get("name") or names.get(given["id"])
            entry = {"kind": given.get("kind", OWNER_TABLES[OwnerKind.USER]), "id": given["id"]}
            yield word, entry | ({"name": name} if name else {})
        else:
            file.suggestions[f"owners.{word}"] = f"name who gets these tasks: --owner {word}=ID, or {word}=team:ID"


def _kept_columns(file: _File) -> None:
    """The columns that a write must not overlook. Only people know which."""
    live, content = file.table_of(QUEUE_ITEM), file.content
    mapped = {each["logical_name"] for each in content["fields"].values() if each["entity"] == QUEUE_ITEM}
    content["task_owner_override_field"] = file.scaffold.get("task_owner_override_field")
    content["preserve_if_present"] = list(file.scaffold.get("preserve_if_present") or ())
    if live is None or live.table is None:
        return
    free = {name: each for name, each in live.table.columns.items() if "_" in name and name not in mapped}
    users = file.tables.get(OWNER_TABLES[OwnerKind.USER])
    to_users = [name for name in free if users and users.entity_set in live.lookups.get(name, {})]
    if "task_owner_override_field" not in file.scaffold and to_users:
        content["task_owner_override_field"] = to_users[0] if len(to_users) == 1 else None
        file.suggestions["task_owner_override_field"] = (
            f"whose id on a queue item names who gets its tasks: one of {_some(to_users)}; null if no column does"
        )
    if "preserve_if_present" not in file.scaffold:
        own = [name for name, each in free.items() if each.valid_for_update and _type(live, name, each)]
        file.suggestions["preserve_if_present"] = (
            "columns that people keep by hand, and whose change must stop a write; none is suggested. There are: "
            f"{_some([name for name in own if name not in to_users])}"
        )
