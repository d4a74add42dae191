"""Joins, groups, order and pages: what FetchXML and SQL ask for, as one value, and how it is answered.

A frame is one joined row: under each table's alias the row of that table, or None where an outer join found none. The
first table's alias is empty.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from simulator import errors
from simulator.crm.organization import Organization
from simulator.query import dates, select
from simulator.schema import Column, Kind, Table
from simulator.schema.model import OPTIONS
from simulator.store import Row
from simulator.store.memory import fold

Json = dict[str, Any]
Frame = dict[str, Row | None]
FrameTest = Callable[[Frame], bool]

MAX_AGGREGATED = 50_000
MAX_LINKS = 15
ROOT = ""
# Joins that only ask whether there are rows on the other side; nothing of those rows is shown.
ASKING = frozenset({"exists", "in", "any", "not any", "all", "not all"})
FUNCTIONS = frozenset({"avg", "count", "countcolumn", "max", "min", "sum"})


@dataclass(frozen=True)
class Link:
    """A joined table. `here` and `there` are the columns that have to be equal, on this table and on the parent's."""

    alias: str
    parent: str
    table: Table
    here: str
    there: str
    kind: str = "inner"
    test: FrameTest | None = None
    links: tuple["Link", ...] = ()


@dataclass(frozen=True)
class Output:
    """A column of the answer. `function` aggregates; `part` is the part of a date that it is grouped by."""

    name: str
    alias: str
    column: Column
    function: str = ""
    distinct: bool = False
    part: str = ""
    renamed: bool = False


@dataclass(frozen=True)
class Order:
    """By a column of a table, or by a column of the answer (`output`)."""

    alias: str = ROOT
    column: Column | None = None
    output: str = ""
    descending: bool = False
    by_value: bool = False


@dataclass(frozen=True)
class Plan:
    """A whole query. `early` concerns the first table alone and is asked before the joins, `late` after them."""

    table: Table
    links: tuple[Link, ...] = ()
    early: FrameTest | None = None
    late: FrameTest | None = None
    outputs: tuple[Output, ...] = ()
    orders: tuple[Order, ...] = ()
    aggregate: bool = False
    distinct: bool = False
    limit: int = MAX_AGGREGATED
    everything: bool = False


@dataclass(frozen=True)
class Answer:
    """One line of the answer: the frame it comes from, and what the outputs give."""

    frame: Frame
    values: Json = field(default_factory=dict)


def value_of(organization: Organization, table: Table, alias: str, column: Column) -> Callable[[Frame], Any]:
    """Gets a column from a frame; one that the reader may not see is null."""
    wire = column.wire
    if wire in organization.hidden(table):
        return lambda _: None

    def get(frame: Frame) -> Any:
        row = frame.get(alias)
        return row.values.get(wire) if row is not None else None

    return get


def asked_of(organization: Organization, table: Table, alias: str, column: Column) -> Callable[[Frame], Any]:
    """The same for a condition or an order. Raises 403 for a column that the reader may not see, unless switched."""
    if column.wire in organization.hidden(table) and organization.switches.secured_condition == "refuse":
        raise errors.secured("read")
    return value_of(organization, table, alias, column)


def run(organization: Organization, plan: Plan) -> list[Answer]:
    """Every line of the answer, in order. Raises the 400 of more rows than can be aggregated."""
    frames = _frames(organization, plan)
    if plan.aggregate:
        answers = _grouped(organization, plan, frames)
    else:
        tables = tables_of(plan)
        getters = [
            (output.name, value_of(organization, tables[output.alias], output.alias, output.column))
            for output in plan.outputs
        ]
        answers = [Answer(frame, {name: get(frame) for name, get in getters}) for frame in frames]
    ordered = _ordered(organization, plan, answers)
    return _unique(ordered) if plan.distinct and not plan.aggregate else ordered


def tables_of(plan: Plan) -> dict[str, Table]:
    found = {ROOT: plan.table}

    def add(links: Iterable[Link]) -> None:
        for link in links:
            found[link.alias] = link.table
            add(link.links)

    add(plan.links)
    return found


def _frames(organization: Organization, plan: Plan) -> Iterable[Frame]:
    frames: Iterable[Frame] = ({ROOT: row} for row in select.every(organization, plan.table))
    if plan.early is not None:
        frames = filter(plan.early, frames)
    for link in plan.links:
        frames = joined(organization, frames, link)
    return filter(plan.late, frames) if plan.late is not None else frames


def joined(organization: Organization, frames: Iterable[Frame], link: Link) -> Iterator[Frame]:
    """Every frame with what the link finds for it."""
    for frame in frames:
        if link.kind in ASKING:
            if asks(organization, frame, link):
                yield frame
            continue
        found = matches(organization, frame, link)
        one = next(found, None)
        if one is None:
            if link.kind != "inner":
                yield _empty(frame, link)
            continue
        yield one
        if link.kind != "matchfirstrowusingcrossapply":
            yield from found


def asks(organization: Organization, frame: Frame, link: Link) -> bool:
    """The link as a condition. `all` and `not all` are documented to mean the opposite of what they say."""
    some = next(matches(organization, frame, link), None) is not None
    if link.kind == "not any":
        return not some
    if link.kind == "all":
        return not some and next(_candidates(organization, frame, link), None) is not None
    return some


def _candidates(organization: Organization, frame: Frame, link: Link) -> Iterator[Row]:
    parent = frame[link.parent]
    wanted = parent.values.get(link.there) if parent is not None else None
    if wanted is None:
        return
    if link.table.view_of:
        wanted = fold(wanted)
        yield from (row for row in select.every(organization, link.table) if fold(row.values.get(link.here)) == wanted)
        return
    name = link.table.logical_name
    for record_id in organization.store.matching(name, link.here, wanted):
        row = organization.store.get(name, record_id)
        if row is not None:
            yield row


def matches(organization: Organization, frame: Frame, link: Link) -> Iterator[Frame]:
    """The frame with each row of the link that passes its filter, and with what the links inside it find."""
    for row in _candidates(organization, frame, link):
        candidate = {**frame, link.alias: row}
        if link.test is not None and not link.test(candidate):
            continue
        found: Iterable[Frame] = [candidate]
        for inner in link.links:
            found = joined(organization, found, inner)
        yield from found


def _empty(frame: Frame, link: Link) -> Frame:
    empty = {**frame, link.alias: None}
    for inner in link.links:
        empty = _empty(empty, inner)
    return empty


def _unique(answers: list[Answer]) -> list[Answer]:
    seen: set[tuple[Any, ...]] = set()
    kept = []
    for answer in answers:
        key = tuple(fold(value) for value in answer.values.values())
        if key not in seen:
            seen.add(key)
            kept.append(answer)
    return kept


def _grouped(organization: Organization, plan: Plan, frames: Iterable[Frame]) -> list[Answer]:
    tables = tables_of(plan)
    getters = {
        output.name: value_of(organization, tables[output.alias], output.alias, output.column)
        for output in plan.outputs
    }
    keys = [output for output in plan.outputs if not output.function]
    groups: dict[tuple[Any, ...], list[Frame]] = {}
    for count, frame in enumerate(frames, 1):
        if count > plan.limit:
            raise errors.too_many_to_aggregate()
        key = tuple(fold(_part(output, getters[output.name](frame))) for output in keys)
        groups.setdefault(key, []).append(frame)
    if not keys and not groups:
        groups[()] = []
    return [
        Answer(
            members[0] if members else {},
            {
                output.name: aggregated(
                    output.function, output.column, map(getters[output.name], members), distinct=output.distinct
                )
                if output.function
                else _part(output, getters[output.name](members[0]))
                for output in plan.outputs
            },
        )
        for members in groups.values()
    ]


def _part(output: Output, value: Any) -> Any:
    if not output.part or value is None:
        return value
    return dates.part(output.part, datetime.fromisoformat(value))


def aggregated(function: str, column: Column, values: Iterable[Any], *, distinct: bool = False) -> Any:
    """One number (or, for the least and the greatest, value) out of many. Nulls count for `count` alone."""
    given = list(values)
    if function == "count":
        return len(given)
    held = [value for value in given if value is not None]
    if distinct:
        held = list({fold(value): value for value in held}.values())
    if function == "countcolumn":
        return len(held)
    if function in {"min", "max"}:
        return (min if function == "min" else max)(held, key=fold, default=None)
    if function == "sum":
        return sum(held)
    if not held:
        return None
    average = sum(held) / len(held)
    return int(average) if column.kind in {Kind.INTEGER, Kind.BIGINT} else average


def _ordered(organization: Organization, plan: Plan, answers: list[Answer]) -> list[Answer]:
    """Nulls first when ascending; lookups by the name of what they point to, choices by label unless by value."""
    tables = tables_of(plan)
    for order in reversed(plan.orders):
        if order.column is None:
            key = _key(_shown_value(order.output))
        else:
            asked_of(organization, tables[order.alias], order.alias, order.column)
            key = _key(_sort_value(organization, order))
        answers.sort(key=key, reverse=order.descending)
    return answers


def _shown_value(name: str) -> Callable[[Answer], Any]:
    return lambda answer: answer.values.get(name)


def _key(get: Callable[[Answer], Any]) -> Callable[[Answer], tuple[bool, Any]]:
    def key(answer: Answer) -> tuple[bool, Any]:
        value = fold(get(answer))
        return (value is not None, 0 if value is None else value)

    return key


def _sort_value(organization: Organization, order: Order) -> Callable[[Answer], Any]:
    column, alias = order.column, order.alias
    if column is None:
        raise TypeError(order)
    of_row = select.sort_value(organization, column)
    by_label = column.kind in OPTIONS and not order.by_value
    labels: dict[Any, str] = {option.value: option.label for option in column.options}

    def get(answer: Answer) -> Any:
        row = answer.frame.get(alias)
        value = of_row(row) if row is not None else None
        return labels.get(value) if by_label else value

    return get
