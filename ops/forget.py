"""`writeback forget`: a person's data leaves the topics, and reading everything proves it.

What is compacted gets a newer record in its place. What is not is kept until its retention ends, with dates.
The CRM is only looked at: an administrator erases records there. Nothing of the person is recorded: `operator-actions`
gets counts alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from ops import crm
from ops.actions import By, ForReal, Limit, Sender, Sent, Why, asked, confirmed, now
from ops.core.actions import CEILING, Preview
from ops.core.counting import number_of
from ops.core.forgetting import Findings, Person, Remains, Trace, What, person, stays_because
from ops.core.rows import Row
from ops.core.tables import table
from ops.core.times import iso
from ops.errors import CrmUnavailable
from ops.options import id_option
from ops.output import Json, console, json_line, progress
from ops.settings import read_settings
from ops.view.search import Search
from ops.view.view import View, opened, reader_of
from planner import mapping
from planner.core.record_ids import record_id
from planner.core.retirement import mark_of
from runtime.errors import Misconfigured
from runtime.exit_codes import Exit
from schemas.codec import Undecodable
from schemas.records import Operation, PlannedWriteback


def forget(
    session: Annotated[list[str] | None, typer.Option("--session", metavar="ID", help="Session id.")] = None,
    queue_item: Annotated[
        list[str] | None, typer.Option("--queue-item", metavar="ID", help="All sessions of this queue item.")
    ] = None,
    account: Annotated[
        str | None,
        typer.Option(
            "--account", metavar="ID", help="All queue items whose plans or outcomes hold this account; marks do not."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read everything and say whether anything is left, and until when.")
    ] = False,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="Forget blocked sessions too: what they wanted to write is never written.")
    ] = False,
    no_crm: Annotated[bool, typer.Option("--no-crm", help="Do not look into the CRM.")] = False,
    for_real: ForReal = False,
    reason: Why = "",
    by: By = "",
    limit: Limit = CEILING,
    as_json: Json = False,
) -> None:
    """Forget a person's data: shows what is where and until when, and replaces it where topics are compacted.

    Call it again with --check until it says that nothing is left. Sessions that are unsettled, and opt-outs that are
    not on their row, are never forgotten. The CRM is only looked at. Exit codes: 0 nothing is left, or it was done;
    1 something is not forgotten yet, or may not be, or that or an id is not known; 2 what is left goes by itself.
    """
    whom = person(
        sessions=session or (),
        queue_items=[id_option("queue-item", each) for each in queue_item or ()],
        account=id_option("account", account),
    )
    if not whom.ids:
        raise typer.BadParameter("say whose: --session ID, --queue-item ID or --account ID")
    if check and for_real:
        raise typer.BadParameter("--check only reads: leave out --for-real, or --check")
    if any(each.lower() in reason.lower() for each in whom.ids):
        raise typer.BadParameter("leave out whom it is about: it is kept for long", param_hint="--reason")
    settings = read_settings()
    someone = asked(settings, for_real=for_real, why=reason, by=by)
    with opened(settings) as view:
        with progress("reading every topic:") as shown:
            search = Search(view, shown)
            whole = search.whole(whom)
            found = search.of(whole)
        _say_unknown(found.unknown_ids(whom), check=check)
        run = ForgetRun(view, whole, found)
        stays = run.stays(give_up=give_up)
        run.show(stays, look=not no_crm, as_json=as_json)
        if unknown := found.unknown():
            typer.echo(f"the settings of {', '.join(unknown)} are not known: {_MAKE_KNOWN}", err=True)
        if check:
            _conclude(found, as_json=as_json)
        if unknown:
            raise typer.Exit(Exit.ACT)
        if stays:
            typer.echo(f"{number_of(len(stays), 'session')} may not be forgotten yet; nothing was changed", err=True)
            raise typer.Exit(Exit.ACT)
        preview = run.preview()
        if not confirmed(preview, someone, limit=limit, as_json=as_json):
            return
        with Sender(settings) as sender:
            # counts and no id: the record is kept for longer than anything that is forgotten here
            kept = someone.action("forget", about="forget", count=preview.count, at=now(), details=preview.details)
            sender.record(kept)
            sender.send(list(run.replacements()))
        run.forget_here()
    later = run.later()
    if as_json:
        json_line({"later": later})
    else:
        typer.echo("forgotten, as far as topics forget. What is left, and until when: " + " ".join([*later, "--check"]))


def _say_unknown(ids: Sequence[str], *, check: bool) -> None:
    """A mistyped id must not look like a person of whom nothing is left. Raises typer.Exit unless that is checked."""
    said = " is not known: no topic holds anything of it; correct it, or leave it out"
    if check:
        said = ": no topic holds anything of it; it was forgotten, or it was never there: check the id"
    for each in ids:
        typer.echo(each + said, err=True)
    if ids and not check:
        raise typer.Exit(Exit.ACT)


_MAKE_KNOWN = (
    "nothing was changed. Set WRITEBACK_BROKER__CHECK_TOPIC_POLICIES=true, and allow DescribeConfigs on these topics "
    "(writeback topics rights); the demo's broker reports no settings"
)
_EXITS = {
    Remains.NOTHING: Exit.OK,
    Remains.GOING: Exit.WAIT,
    Remains.NOT_FORGOTTEN: Exit.ACT,
    Remains.NOT_KNOWN: Exit.ACT,
}


def _conclude(found: Findings, *, as_json: bool) -> None:
    verdict, until = found.verdict(), iso(found.gone_by_ms())
    if as_json:
        json_line({"verdict": verdict.name.lower(), "gone_by": until})
    else:
        typer.echo(verdict + (f", by {until}" if verdict is Remains.GOING and until else ""))
    raise typer.Exit(_EXITS[verdict])


@dataclass(frozen=True)
class ForgetRun:
    """What was found of a person, and what is done about it."""

    view: View
    person: Person
    found: Findings

    def stays(self, *, give_up: bool) -> dict[str, str]:
        """What may not be forgotten, and why."""
        because = {
            str(row["session"]): why for row in self._rows() if (why := stays_because(row, give_up=give_up)) is not None
        }
        return because | dict.fromkeys(self._not_planned(), "its outcome is not planned yet: wait for the planner")

    def _rows(self) -> list[Row]:
        query = "SELECT * FROM sessions WHERE session = ?"
        return [row for each in self.person.sessions for row in self.view.store.query(query, [each])]

    def _not_planned(self) -> list[str]:
        settings = self.view.settings
        topic = settings.broker.topics.call_outcomes.name
        planner = settings.group_id(settings.planner_group)
        committed = self.view.logs.committed(planner, topic, range(self.view.partitions))
        return [
            each.session or f"{each.topic}/{each.partition}/{each.offset}"
            for each in self.found.traces
            if each.topic == topic
            and each.what is What.CONTENT
            and each.offset >= (committed[each.partition].offset or 0)
        ]

    def preview(self) -> Preview:
        erased = self.found.to_erase()
        marks = [each for each in erased if self._needs_mark(each)]
        tombstones = len(erased) - len(marks)
        return Preview(
            what="forget",
            selected=f"{number_of(len(self.person.sessions), 'session')} of "
            f"{number_of(len(self.person.queue_items), 'queue item')}",
            count=len(erased),
            of="record",
            notes=[
                f"{number_of(len(marks), 'plan becomes a mark', 'plans become marks')} of ids, while outcomes last",
                f"{number_of(tombstones, 'plan, mark or result gets', 'plans, marks and results get')} a tombstone",
            ],
            details={"marks": len(marks), "tombstones": tombstones},
        )

    def _needs_mark(self, trace: Trace) -> bool:
        planned = self.view.settings.broker.topics.planned_writebacks.name
        return trace.topic == planned and trace.what is What.CONTENT and self.found.may_be_planned(trace)

    def replacements(self) -> Iterator[Sent]:
        """Plans first: a plan without its result would look as if that had got lost."""
        planned = self.view.settings.broker.topics.planned_writebacks.name
        for each in sorted(self.found.to_erase(), key=lambda each: each.topic != planned):
            mark = self._mark(each) if self._needs_mark(each) else None
            yield Sent(each.topic, each.partition, each.key, mark)

    def _mark(self, trace: Trace) -> bytes | None:
        """None for what is not a plan: nothing could be planned anew because of it."""
        if (plan := self._plan(trace)) is None:
            return None
        made = mark_of(plan, datetime.now(UTC))
        return reader_of(PlannedWriteback, self.view.settings).encode(made)

    def _plan(self, trace: Trace) -> PlannedWriteback | None:
        message = self.view.logs.record(trace.topic, trace.partition, trace.offset)
        with suppress(Undecodable):
            if message is not None and (value := message.value()) is not None:
                return reader_of(PlannedWriteback, self.view.settings).decode(value)
        return None

    def later(self) -> list[str]:
        """The command that finds what is left of it: results and marks do not hold the account."""
        named = [("--queue-item", each) for each in sorted(self.person.queue_items)]
        named = named or [("--session", each) for each in sorted(self.person.sessions)]
        return ["writeback", "forget", *(part for pair in named for part in pair)]

    def forget_here(self) -> None:
        """The local view keeps nothing of it either."""
        self.view.store.erase(sorted(self.person.sessions), sorted(self.person.queue_items))

    def show(self, stays: Mapping[str, str], *, look: bool, as_json: bool) -> None:
        places, why = self._in_crm(look=look)
        if as_json:
            for line in self.found.lines():
                json_line(line.as_json() | {"until": iso(line.until_ms)})
            for place, there in places.items():
                json_line({"crm": place, "there": there})
            if why:
                json_line({"crm_not_looked_at": why})
            for each, because in stays.items():
                json_line({"stays": each, "because": because})
            return
        out = console()
        rows = [
            (line.topic, line.what.value, f"{line.partition}: {line.first}-{line.last}", f"{line.records:,}",
             iso(line.until_ms) or "", line.fate)
            for line in self.found.lines()
        ]  # fmt: skip
        out.print(table(("topic", "what", "offsets", "records", "until", "what becomes of it"), rows))
        for place, there in places.items():
            out.print(Text(f"{'in the CRM' if there else 'not in the CRM'}: {place}"))
        if any(places.values()):
            out.print(Text("This command erases nothing in the CRM: erase those records there, with its own means."))
        if why:
            out.print(Text(f"The CRM was not looked at: {why}", style="yellow"))
        for each, because in stays.items():
            out.print(Text(f"{each} stays: {because}", style="bold red"))

    def _in_crm(self, *, look: bool) -> tuple[dict[str, bool], str | None]:
        """Record to whether it is there; and why the CRM was not looked at, if it was not."""
        settings = self.view.settings
        if not look:
            return {}, "--no-crm"
        if not crm.is_configured(settings):
            return {}, crm.NOT_CONFIGURED
        try:
            found = crm.read_records(settings, self._places()).rows
        except (CrmUnavailable, Misconfigured) as error:
            return {}, str(error)
        return {f"{entity_set}({record})": row is not None for (entity_set, record), row in found.items()}, None

    def _places(self) -> list[crm.Place]:
        """As the plans say; where those are gone, by the mapping: a record's id follows from its session's."""
        places = set[crm.Place]()
        planned = self.view.settings.broker.topics.planned_writebacks.name
        for each in self.found.traces:
            if each.topic == planned and each.what is What.CONTENT and (plan := self._plan(each)) is not None:
                places |= {(step.entity_set, step.record_id) for step in plan.steps}
        if self.view.settings.mapping_file is not None:
            tables = mapping.load(self.view.settings.mapping_file)
            places |= {(tables.queue_item.entity_set, each) for each in self.person.queue_items}
            for session in self.person.sessions:
                places.add((tables.phone_call.entity_set, record_id(session, Operation.CREATE_PHONE_CALL)))
                places.add((tables.task.entity_set, record_id(session, Operation.CREATE_TASK)))
        return sorted(places)
