"""Overviews and sessions as a person and as a script read them. No I/O."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ops.core.counting import number_of
from ops.core.overview import Overview
from ops.core.selectors import Selectors
from ops.core.sessions import Status
from ops.core.tables import table
from ops.core.times import age, iso
from ops.core.verdicts import needs_a_person

URGENT = "bold red"
_NOTHING_TO_DO = (Status.COMPLETED, Status.CLOSED)
"""Of these a writer sends nothing again."""


def shown(found: Overview) -> RenderableType:
    parts: list[RenderableType] = []
    if found.rejected_opt_outs:
        parts.append(Text(_rejected_opt_outs(found.rejected_opt_outs), style=URGENT))
    if found.opt_outs_open:
        parts.append(Text(_open_opt_outs(found.opt_outs_open), style=URGENT))
    rows = [
        (
            Text(row["status"], style=_style(row["status"], row["reason"])),
            row["reason"] or "",
            f"{row['sessions']:,}",
            f"{row['unsettled']:,}",
            Text(f"{row['opt_outs_open']:,}", style=URGENT if row["opt_outs_open"] else ""),
            age((found.at_ms - row["oldest_ms"]) / 1000) if row["oldest_ms"] is not None else "",
        )
        for row in found.rows
    ]
    parts.append(table(("status", "reason", "sessions", "unsettled", "open opt-outs", "oldest planned"), rows))
    parts.append(
        Text(f"{number_of(found.sessions, 'session')}. {_lag(found)}", style=URGENT if found.stopped_with_work else "")
    )
    return Group(*parts)


def _rejected_opt_outs(number: int) -> str:
    said = number_of(number, "rejected outcome says", "rejected outcomes say")
    return f"{said} that a contact opted out"


def _open_opt_outs(number: int) -> str:
    return number_of(number, "opt-out is not on its row", "opt-outs are not on their row")


def _lag(found: Overview) -> str:
    planner, writer = "caught up", "caught up"
    if waiting := found.outcomes.records:
        planner = f"{number_of(waiting, 'outcome')} not planned, oldest {age(found.planner_lag_s)}"
    if found.unsettled:
        writer = f"{found.unsettled:,} unsettled, oldest {age(found.lag_s)}"
    planner += "" if found.planner_runs is not False else ", NO PLANNER IS RUNNING"
    writer += "" if found.writer_runs is not False else ", NO WRITER IS RUNNING"
    return f"planner: {planner}; writer: {writer}; {found.rejected:,} rejected."


def line(found: Overview, before: Overview | None) -> str:
    change = f" ({found.sessions - before.sessions:+,})" if before else ""
    urgent = f" OPT-OUTS NOT ON THEIR ROW: {found.opt_outs_open:,};" if found.opt_outs_open else ""
    return f"{iso(found.at_ms)}{urgent} {number_of(found.sessions, 'session')}{change}. {_lag(found)}"


def change(before: Overview | None, found: Overview) -> Text:
    if before is None:
        return Text("")
    seconds = max(0.1, (found.at_ms - before.at_ms) / 1000)
    settled = (found.sessions - found.unsettled) - (before.sessions - before.unsettled)
    return Text(f"{settled / seconds:,.1f} settled a second; Ctrl-C ends", style="dim")


def row_of(row: dict[str, Any], at_ms: int) -> tuple[Text | str, ...]:
    again = row["unsettled"] and row["status"] not in (Status.QUEUED, Status.RESUME_NEEDED)
    planned = "" if row["planned_ms"] is None else f"{age((at_ms - row['planned_ms']) / 1000)} ago"
    said = row["message"] and (f"before it was sent again: {row['message']}" if again else row["message"])
    said = said or ("requeued" if row["requeues"] else "")
    style = URGENT if row["opt_out_open"] else ""
    what = row["status"] + (f", {row['reason']}" if row["reason"] else "")
    if again:
        what += ", to be read again" if row["status"] in _NOTHING_TO_DO else ", to be tried again"
    if row["opt_out_open"]:
        what += ", OPT-OUT NOT ON ITS ROW"
    shown_status = Text(what, style=style or _style(row["status"], row["reason"]))
    return Text(row["session"], style=style), row["queue_item"], shown_status, row["disposition"], planned, said


def as_json_row(row: dict[str, Any]) -> dict[str, Any]:
    """Names as a script wants them: times in ISO 8601, flags as booleans."""
    plan = row["plan_offset"] is not None and {"partition": row["plan_partition"], "offset": row["plan_offset"]}
    return {
        "session_id": row["session"],
        "queue_item_id": row["queue_item"],
        "campaign_id": row["campaign"],
        "status": row["status"],
        "reason": row["reason"],
        "unsettled": bool(row["unsettled"]),
        "disposition": row["disposition"],
        "opt_out": bool(row["opt_out"]),
        "opt_out_open": bool(row["opt_out_open"]),
        "planned_at": iso(row["planned_ms"]),
        "settled_at": iso(row["settled_ms"]),
        "requeues": row["requeues"] or 0,
        "attempts": row["attempts"],
        "conflicts": (row["conflicts"] or "").split(),
        "gaps": (row["gaps"] or "").split(),
        "mapping": row["mapping"],
        "message": row["message"],
        "plan": plan or None,
    }


def _style(status: str, reason: str | None) -> str:
    if needs_a_person(status, reason):
        return "yellow"
    return {Status.COMPLETED: "green", Status.RESUME_NEEDED: "cyan", Status.QUEUED: "cyan"}.get(Status(status), "")


def summary(found: int, listed: int, selectors: Selectors) -> Text:
    rest = f", {listed:,} of them listed (--limit 0 lists all)" if listed < found else ""
    return Text(f"{number_of(found, 'session')}{rest}: {selectors.described()}")
