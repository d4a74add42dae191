"""`writeback rejected list | show | redrive`: what planner and writer turned away, why, and what helps."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.text import Text

from ops.core.counting import number_of
from ops.core.redriving import UNKNOWN_SENDER
from ops.core.remedies import CANNOT_BE_READ, Again, is_open_opt_out, planned_since, remedies_of
from ops.core.rendering import URGENT
from ops.core.rows import shown_session
from ops.core.tables import table
from ops.core.times import age, iso, milliseconds
from ops.output import Json, console, json_line
from ops.redrive import redrive
from ops.rejections import Code, Filters, FromSender, OptOuts, Since, Until, chosen
from ops.settings import read_settings
from ops.view.view import View, headers_of, opened, reader_of
from runtime.exit_codes import Exit
from schemas import headers as names
from schemas.codec import Undecodable
from schemas.records import CallOutcome, PlannedWriteback

app = typer.Typer(no_args_is_help=True, help="Look at what planner and writer turned away, and send it again.")
app.command("redrive", epilog="Example: writeback rejected redrive --code unknown_schema --for-real --reason upgraded")(
    redrive
)


@app.command("list", epilog="Example: writeback rejected list --opt-out --since 7d")
def list_(
    code: Code = None,
    sender: FromSender = None,
    opt_out: OptOuts = False,
    since: Since = None,
    until: Until = None,
    records: Annotated[bool, typer.Option("--records", help="Each record, not groups.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Most records to show; 0: all.")] = 100,
    as_json: Json = False,
) -> None:
    """List rejected records, grouped by reasons, senders and who rejected them; rejected opt-outs first and in red.

    Says of each group whether publishing the same record again can help, and what does. What was published again since
    and planned is shown as such. Exit code 1 if an outcome in which a contact opted out is among the others: nothing of
    it reaches the CRM unless a person sees to it.
    """
    with opened(read_settings()) as view:
        found = chosen(view, Filters(code, sender, opt_out, since, until))
        others = chosen(view, Filters(code, sender, False, since, until)) if opt_out else []
        now_ms = view.at_ms
    if records:
        _show_records(found[: limit or None], as_json=as_json)
    else:
        _show_groups(found, now_ms, as_json=as_json)
    if not as_json:
        console().print(number_of(len(found), "rejected record"))
        if unread := sum(not CANNOT_BE_READ.isdisjoint(each["codes"].split()) for each in others):
            console().print(Text(f"{number_of(unread, 'more record')} cannot be read: {_LOOK_AT_THEM}", style="yellow"))
    raise typer.Exit(Exit.ACT if any(map(is_open_opt_out, found)) else Exit.OK)


_LOOK_AT_THEM = (
    "nobody knows whether the contact opted out there. `writeback rejected list --records` names them, `writeback "
    "rejected show PLACE` shows one, and their sender knows what it published"
)


@app.command(epilog="Example: writeback rejected show call-outcomes-rejected/3/117")
def show(
    place: Annotated[
        str,
        typer.Argument(
            metavar="TOPIC/PARTITION/OFFSET", help="As `rejected list --records` names it, or without the prefix."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show one rejected record: every reason, its headers, what it says without its texts, and what helps.

    Exit code 1 if the record is not on its topic any more.
    """
    topic, partition, offset = _parsed(place)
    with opened(read_settings()) as view:
        prefixed = f"{view.settings.broker.topic_prefix}{topic}"
        topic = prefixed if prefixed in _topics(view) else topic
        if topic not in _topics(view):
            raise typer.BadParameter(f"{topic} is not a topic of rejected records: {', '.join(_topics(view))}")
        found = _record(view, topic, partition, offset)
    if found is None:
        typer.echo(f"{place} is not there: retention has taken it, or it never was", err=True)
        raise typer.Exit(Exit.ACT)
    if as_json:
        json_line(found)
        return
    out = console()
    size = number_of(found["size"], "byte")
    out.print(Text(f"{found['place']}, appended {found['at']}, {size}, rejected by {found['rejected_by']}"))
    if found["opt_out"]:
        out.print(Text("the contact opted out in it", style=URGENT))
    rows = [(each["code"], each["field"] or "", each["expected"]) for each in found["reasons"]]
    out.print(table(("reason", "field", "expected"), rows))
    out.print(table(("field", "value"), [(name, str(value)) for name, value in found["record"].items()]))
    if found["redrives"]:
        out.print(Text(f"sent again {found['redrives']}× by operators, and rejected again"))
    out.print(Text(f"its sender: {found['sender'] or UNKNOWN_SENDER}"))
    out.print(Text(f"its original: {found['source']}; header names: {', '.join(found['headers']) or 'none'}"))
    out.print(Text(f"publishing it again helps: {found['again']}. {'; '.join(found['remedies'])}"))


def _show_groups(found: list[dict[str, Any]], now_ms: int, *, as_json: bool) -> None:
    groups: dict[tuple[str, str, str, str, bool, bool], list[dict[str, Any]]] = {}
    for row in found:
        by = row["rejected_by"] or ""
        since = planned_since(row), row["since_status"] is not None
        groups.setdefault((row["topic"], row["codes"], row["sender"] or UNKNOWN_SENDER, by, *since), []).append(row)
    listed = sorted(groups.items(), key=lambda each: (not _opt_outs(each[1]), -len(each[1]), each[0]))
    rows = []
    for (topic, codes, sender, by, since_planned, _), records in listed:
        again, what = remedies_of(records[0])
        first, last = min(each["at_ms"] for each in records), max(each["at_ms"] for each in records)
        if as_json:
            json_line(
                {
                    "topic": topic, "reasons": codes.split(), "sender": sender, "rejected_by": by,
                    "records": len(records), "opt_outs": _opt_outs(records), "first_at": iso(first),
                    "last_at": iso(last), "again": again, "remedies": what, "planned_since": since_planned,
                }
            )  # fmt: skip
        opt_outs = Text(str(_opt_outs(records)), style=URGENT if _opt_outs(records) else "")
        when = f"{age((now_ms - last) / 1000)} ago"
        rows.append(
            (codes, sender, f"{len(records):,}", opt_outs, when, by, Text(again, style=_STYLES[again]), "; ".join(what))
        )
    if not as_json and rows:
        headings = ("reasons", "sender", "records", "opt-outs", "last", "rejected by", "again?", "what helps")
        console().print(table(headings, rows))


_STYLES = {Again.YES: "green", Again.OTHER_KEY: "cyan", Again.NO: ""}


def _opt_outs(records: list[dict[str, Any]]) -> int:
    """Those that nobody has taken up."""
    return sum(map(is_open_opt_out, records))


def _show_records(found: list[dict[str, Any]], *, as_json: bool) -> None:
    rows = []
    for row in found:
        place = f"{row['topic']}/{row['partition']}/{row['offset']}"
        if as_json:
            json_line(
                {
                    "place": place, "at": iso(row["at_ms"]), "session_id": row["session"], "queue_item_id": row["key"],
                    "reasons": json.loads(row["reasons"]), "opt_out": bool(row["opt_out"]), "source": row["source"],
                    "sender": row["sender"], "redrives": row["redrives"],
                    "session_status": row["since_status"] if planned_since(row) else None,
                }
            )  # fmt: skip
        style = URGENT if is_open_opt_out(row) else ""
        since = f"planned since: {row['since_status']}" if planned_since(row) else ""
        rows.append((Text(place, style=style), iso(row["at_ms"]) or "", row["session"] or "", row["codes"], since))
    if not as_json and rows:
        console().print(table(("record", "appended", "session", "reasons", ""), rows))


def _parsed(place: str) -> tuple[str, int, int]:
    topic, _, rest = place.partition("/")
    partition, _, offset = rest.partition("/")
    if not (topic and partition.isdigit() and offset.isdigit()):
        raise typer.BadParameter(
            f"give TOPIC/PARTITION/OFFSET, as `writeback rejected list --records` does, not {place}"
        )
    return topic, int(partition), int(offset)


def _topics(view: View) -> dict[str, Any]:
    topics = view.settings.broker.topics
    return {topics.call_outcomes_rejected.name: CallOutcome, topics.planned_writebacks_rejected.name: PlannedWriteback}


def _record(view: View, topic: str, partition: int, offset: int) -> dict[str, Any] | None:
    message = view.logs.record(topic, partition, offset) if partition < view.partitions else None
    rows = view.store.rejected("topic = ? AND partition = ? AND offset = ?", [topic, partition, offset])
    if message is None or not rows:
        return None
    [row] = rows
    again, what = remedies_of(row)
    return {
        "place": f"{topic}/{partition}/{offset}",
        "at": iso(row["at_ms"]),
        "size": row["size"],
        "rejected_by": row["rejected_by"],
        "source": row["source"],
        "sender": row["sender"],
        "redrives": row["redrives"],
        "opt_out": bool(row["opt_out"]),
        "reasons": json.loads(row["reasons"]),
        "headers": sorted({name for name, _ in headers_of(message)} - _OURS),
        "record": _said(view, _topics(view)[topic], message.value()),
        "again": again,
        "remedies": what,
    }


_OURS = {names.REJECTION_REASONS, names.REJECTED_BY, names.REJECTED_FROM, names.OPT_OUT}


def _said(view: View, cls: Any, value: bytes | None) -> dict[str, Any]:
    """Decoded fields without personal data; nobody checked the rest."""
    try:
        record = reader_of(cls, view.settings).decode(value or b"")
    except Undecodable as error:
        return {"value": f"cannot be read: {error}"}
    times = {name: at for name in ("started_at", "ended_at", "outcome_at") if (at := getattr(record, name, None))}
    said = {"session_id": shown_session(record.session_id) or "(not shown)", "disposition": record.disposition.value}
    return said | {name: iso(milliseconds(at)) for name, at in times.items()}
