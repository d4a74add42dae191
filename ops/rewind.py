"""`writeback rewind`: sets a consumer group back, and undoes that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from ops.actions import By, ForReal, Sender, Why, asked, now
from ops.core.actions import Asked
from ops.core.counting import number_of
from ops.core.rewinding import (
    Rewind,
    back_to,
    last_rewind,
    last_undone,
    offsets_of,
    refused_action,
    rewind_action,
    undone,
)
from ops.core.sessions import Status
from ops.core.tables import table
from ops.core.times import HOW, iso, milliseconds
from ops.groups import GroupActive, Groups
from ops.options import moment_option
from ops.output import Json, console, json_line
from ops.settings import Settings, read_settings
from ops.view.view import View, opened
from runtime.exit_codes import Exit


class Group(StrEnum):
    WRITER = "writer"
    PLANNER = "planner"
    DRY_RUN = "dry-run"


def rewind(
    group: Annotated[Group, typer.Argument(help="Whose consumer group.")],
    to_time: Annotated[
        str | None, typer.Option("--to-time", metavar="TIME", help=f"To what was appended then or later: {HOW}.")
    ] = None,
    to_offset: Annotated[
        list[str] | None,
        typer.Option(
            "--to-offset", metavar="PARTITION:OFFSET", help="To an offset of one partition; give it several times."
        ),
    ] = None,
    to_start: Annotated[bool, typer.Option("--to-start", help="To the oldest record of every partition.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Put back the offsets from before the last rewind.")] = False,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Also write the offsets from before to this file.")
    ] = None,
    for_real: ForReal = False,
    why: Why = "",
    by: By = "",
    as_json: Json = False,
) -> None:
    """Set a consumer group back to a time, an offset or the start; only shown, unless --for-real is given.

    While the group has members, nothing is moved: a preview is shown, with exit code 1. The offsets from before are
    recorded first, so that --undo puts them back. A group is never set ahead: that would skip plans. What landed or was
    closed is recognised and not sent again; what was blocked is tried again.
    """
    if sum((to_time is not None, bool(to_offset), to_start, undo)) != 1:
        raise typer.BadParameter("give one of --to-time, --to-offset, --to-start and --undo")
    wanted = _Wanted(moment_option("to-time", to_time), _places(to_offset or ()), to_start, undo)
    settings = read_settings()
    person = asked(settings, for_real=for_real, why=why, by=by)
    groups = Groups(settings)
    with opened(settings) as view:
        name, topic = _group(settings, group)
        move = _move(view, groups, name, topic, wanted)
        cost = _cost(view, move.offsets) if group is Group.WRITER else {}
    active = groups.is_active(name)
    doing = for_real and not active and bool(move.offsets.after)
    if as_json:
        json_line(_as_json(name, topic, move, cost) | {"active": active, "moved": doing})
    else:
        _show(name, move, cost)
    if active:
        typer.echo(str(GroupActive(name)), err=True)
        raise typer.Exit(Exit.ACT)
    if doing:
        _do(settings, name, topic, move, person, export)
    if not as_json and move.offsets.after:
        typer.echo(_next(group, undo=undo) if doing else "nothing was moved: --for-real --reason WHY does it", err=True)


@dataclass(frozen=True, slots=True)
class _Wanted:
    at: datetime | None
    places: Mapping[int, int]
    start: bool
    undo: bool


@dataclass(frozen=True, slots=True)
class _Move:
    offsets: Rewind
    to: str
    undoes: str | None = None
    """Place of the recorded rewind."""
    caught_up: int = 0
    """Partitions of that rewind that are at their offsets from before again, or beyond."""


def _move(view: View, groups: Groups, group: str, topic: str, asked: _Wanted) -> _Move:
    partitions = range(view.partitions)
    committed = view.logs.offsets(group, topic, partitions)
    if asked.undo:
        actions = view.store.actions()
        if (last := last_rewind(actions, group)) is None:
            why = f"there is no rewind of {group} on operator-actions to undo"
            if (undo := last_undone(actions, group)) is not None:
                why = f"the last rewind of {group} was undone already, by {undo['who']} at {undo['at']} ({undo['why']})"
            typer.echo(why, err=True)
            raise typer.Exit(Exit.ACT)
        before = offsets_of(last, "before")
        back = undone(before, committed)
        to = f"where it was before the rewind of {last['at']}"
        return _Move(back, to, str(last["place"]), len(before) - len(back.after))
    first = {each: low for each, (low, _) in view.logs.marks(topic, partitions).items()}
    if asked.start:
        return _Move(back_to(committed, first, first), "the start")
    if asked.at is None:
        wanted, to = asked.places, ", ".join(f"{each}:{offset}" for each, offset in asked.places.items())
    else:
        wanted, to = groups.offsets_at(view.logs, topic, partitions, asked.at), str(iso(milliseconds(asked.at)))
    return _Move(back_to(committed, wanted, first), to)


def _do(settings: Settings, group: str, topic: str, move: _Move, person: Asked, export: Path | None) -> None:
    """Offsets from before are kept first: a move that was begun can always be undone."""
    at = now()
    action = rewind_action(person, group=group, topic=topic, to=move.to, rewind=move.offsets, at=at, undoes=move.undoes)
    if export is not None:
        export.write_text(json.dumps(action.details, indent=2))
    with Sender(settings) as sender:
        sender.record(action)
        try:
            Groups(settings).move(group, topic, move.offsets.after)
        except GroupActive as error:
            sender.record(refused_action(person, group=group, recorded_at=at, at=now()))
            typer.echo(str(error), err=True)
            raise typer.Exit(Exit.ACT) from None


def _next(group: Group, *, undo: bool) -> str:
    return "moved; start the service again" + ("" if undo else f". To put it back: writeback rewind {group} --undo")


def _group(settings: Settings, group: Group) -> tuple[str, str]:
    topics = settings.broker.topics
    name, topic = {
        Group.WRITER: (settings.writer_group, topics.planned_writebacks),
        Group.PLANNER: (settings.planner_group, topics.call_outcomes),
        Group.DRY_RUN: (settings.dry_run_group, topics.planned_writebacks),
    }[group]
    return settings.group_id(name), topic.name


def _places(given: Sequence[str]) -> dict[int, int]:
    places = {}
    for each in given:
        partition, _, offset = each.partition(":")
        if not (partition.isdigit() and offset.isdigit()):
            raise typer.BadParameter("give PARTITION:OFFSET, such as 3:1170", param_hint="--to-offset")
        places[int(partition)] = int(offset)
    return places


def _cost(view: View, found: Rewind) -> dict[str, int]:
    """What a writer will do about the sessions whose plans it reads again."""
    counts: dict[str, int] = {"recognised": 0, "tried_again": 0}
    for old, new in zip(found.before, found.after, strict=True):
        for status, sessions in view.store.counts_between(old.partition, new.offset, old.offset).items():
            recognised = status in (Status.COMPLETED, Status.CLOSED, Status.RETIRED)
            counts["recognised" if recognised else "tried_again"] += sessions
    return counts


def _as_json(group: str, topic: str, move: _Move, cost: Mapping[str, int]) -> dict[str, Any]:
    found = move.offsets
    return {
        "group": group, "topic": topic, "to": move.to, "records": abs(found.records), "cost": cost,
        "partitions": _listed(found),
    }  # fmt: skip


def _listed(found: Rewind) -> list[dict[str, int]]:
    return [
        {"partition": old.partition, "from": old.offset, "to": new.offset}
        for old, new in zip(found.before, found.after, strict=True)
    ]


def _show(group: str, move: _Move, cost: Mapping[str, int]) -> None:
    out, found = console(), move.offsets
    if not found.after:
        again = (
            "it has caught up with the offsets from before again" if move.undoes else "it is there already, or behind"
        )
        out.print(Text(f"{group}: nothing to move ({move.to}); {again}"))
        return
    out.print(Text(f"{group} to {move.to}"))
    rows = [tuple(map(str, each.values())) for each in _listed(found)]
    out.print(table(("partition", "from", "to"), rows))
    if move.caught_up:
        out.print(Text(f"{number_of(move.caught_up, 'more partition')} caught up again, and not moved"))
    if found.records > 0:
        what = number_of(found.records, "offset is read again", "offsets are read again")
        out.print(Text(f"{what}; some may hold no plan any more, because compaction took it"))
    if cost and not move.undoes:
        out.print(Text(f"{number_of(cost['recognised'], 'session')} recognised, without a request"))
        out.print(Text(f"{number_of(cost['tried_again'], 'session')} tried again, with a request to the CRM each"))
