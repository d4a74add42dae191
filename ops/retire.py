"""`writeback retire`: old, settled sessions leave the compacted topics; a small mark is left of each for as long as any
outcome of it could still be planned. Fit for a CronJob.

It can be killed at any moment and called again: every step leaves less to do, and none leaves a plan without its result
or its mark. Marks and tombstones of plans are acknowledged before the tombstones of results are sent; in the other
order, a session would look as if its result had got lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from confluent_kafka import Message

from ops.actions import By, ForReal, Limit, Sender, Sent, Why, asked, confirmed, now
from ops.core.actions import CEILING, Preview
from ops.core.counting import number_of
from ops.core.retiring import USUAL_AGE, Limits, Retirement, first_appended, limits
from ops.core.rows import Row
from ops.core.times import age as in_words
from ops.core.times import iso, of_milliseconds
from ops.options import duration_option
from ops.output import Json, OnProgress, json_line, progress
from ops.settings import read_settings
from ops.view.retiring import Retiring
from ops.view.view import View, opened, reader_of
from planner.core.retirement import mark_of
from schemas.codec import Codec, Undecodable
from schemas.records import PlannedWriteback


def retire(
    age: Annotated[
        str, typer.Option("--age", metavar="AGE", help="How long ago its sessions settled: 90d, 2160h.")
    ] = f"{USUAL_AGE.days}d",
    for_real: ForReal = False,
    reason: Why = "",
    by: By = "",
    limit: Limit = CEILING,
    as_json: Json = False,
) -> None:
    """Replace plans and results of old, settled sessions by a small mark, and remove marks that nothing needs any more.

    Queue items are retired whole: one session that is unsettled, blocked (but for eligibility) or passed over keeps its
    item, whatever its age, and so does an opt-out that is not on its row. Nothing is retired that is younger than the
    oldest outcome on call-outcomes. It never asks the CRM. It runs beside the services, can be killed and called again,
    and asks no question: for a CronJob, give --for-real --reason nightly --limit 0.
    """
    wanted = duration_option("age", age)
    settings = read_settings()
    person = asked(settings, for_real=for_real, why=reason, by=by)
    with opened(settings) as view:
        at = datetime.now(UTC)
        bounds = limits(at, wanted, oldest_outcome(view))
        retiring = Retiring(view.store, bounds)
        preview = _preview(retiring.counts(), bounds, at, wanted)
        if not confirmed(preview, person, limit=limit, as_json=as_json):
            return
        with Sender(settings) as sender, progress("retire:") as shown:
            sender.record(
                person.action("retire", about="sessions", count=preview.count, at=now(), details=preview.details)
            )
            done = RetireRun(view, retiring, sender, at).carry_out(preview.count, shown)
    if as_json:
        json_line({"retired": done, "left_out": preview.count - done})
    else:
        typer.echo(f"retired: {number_of(done, 'session')}" + (f"; {_CHANGED}" if done < preview.count else ""))


_CHANGED = "the others were planned, sent again or compacted meanwhile: the next run looks at them anew"


def oldest_outcome(view: View) -> datetime | None:
    """When the oldest outcome that can still be read was appended."""
    topic = view.settings.broker.topics.call_outcomes.name
    first = [
        found
        for partition, (low, end) in view.logs.marks(topic, range(view.partitions)).items()
        if low < end and (found := view.logs.first_from(topic, partition, low)) is not None
    ]
    return of_milliseconds(min(each.timestamp()[1] for each in first)) if first else None


def _preview(counts: dict[Retirement, int], bounds: Limits, at: datetime, wanted: timedelta) -> Preview:
    settled_before = of_milliseconds(bounds.settled_before_ms)
    notes = [
        f"{number_of(counts[Retirement.MARK], 'gets', 'get')} a mark in the place of plan and result",
        f"{number_of(counts[Retirement.GONE], 'goes', 'go')} without a trace: so old a session cannot be planned again",
        f"{number_of(counts[Retirement.RESULT], 'is marked, and loses', 'are marked, and lose')} a result that is left",
    ]
    if settled_before < at - wanted:
        since = in_words((at - settled_before).total_seconds())
        notes.append(f"call-outcomes holds outcomes of {since} ago: nothing younger is retired, whatever --age says")
    return Preview(
        what="retire",
        selected=f"queue items whose sessions all settled before {iso(bounds.settled_before_ms)}",
        count=sum(counts.values()),
        notes=notes,
        details={**{fate.value: count for fate, count in counts.items()}, "before": iso(bounds.settled_before_ms)},
    )


@dataclass(frozen=True)
class RetireRun:
    """One run, on sessions that were selected. `at`: when the marks say that they were made."""

    view: View
    retiring: Retiring
    sender: Sender
    at: datetime
    at_once: int = 1_000

    def carry_out(self, count: int, on_progress: OnProgress) -> int:
        """How many sessions were retired."""
        self._make_marks()
        done = 0
        for piece in self.retiring.pieces(self.at_once):
            self.sender.send([record for row in piece for record in self._of_plan(row)])
            self.sender.send([record for row in piece for record in self._of_result(row)])
            done += len(piece)
            on_progress("sessions", done, count)
        return done

    def _make_marks(self) -> None:
        """Reads on from the first plan that is concerned to the end of the topic: past what the view knows."""
        topic = self.view.settings.broker.topics.planned_writebacks.name
        known = self.view.store.positions(topic)
        starts = known | self.retiring.first_offsets()
        marks = self.view.logs.marks(topic, range(self.view.partitions))
        plans = reader_of(PlannedWriteback, self.view.settings)

        def heard(messages: Sequence[Message]) -> None:
            with self.view.store.writing():
                for message in messages:
                    if int(message.offset() or 0) >= known.get(int(message.partition() or 0), 0):
                        self._drop_what_is_new(message, plans)
                    else:
                        self._keep_mark(message, plans)

        self.view.logs.read(topic, starts, marks, heard, lambda _: None)

    def _drop_what_is_new(self, message: Message, plans: Codec[PlannedWriteback]) -> None:
        """Its session, and its queue item, are not old any more."""
        queue_item = None
        with suppress(Undecodable):
            queue_item = plans.decode(message.value() or b"").queue_item_id
        self.retiring.drop(queue_item, _session(message))

    def _keep_mark(self, message: Message, plans: Codec[PlannedWriteback]) -> None:
        row, value = self.retiring.of(_session(message)), message.value()
        if row is None or row["fate"] != Retirement.MARK or value is None:
            return
        if (row["plan_partition"], row["plan_offset"]) == (message.partition(), message.offset()):
            with suppress(Undecodable):
                self.retiring.keep_mark(row["session"], plans.encode(mark_of(plans.decode(value), self.at)))

    def _of_plan(self, row: Row) -> Iterator[Sent]:
        topic, key = self.view.settings.broker.topics.planned_writebacks.name, row["session"].encode()
        if row["fate"] == Retirement.MARK:
            yield Sent(topic, row["plan_partition"], key, row["mark"], first_appended(row["planned_ms"]))
        elif row["fate"] == Retirement.GONE:
            yield Sent(topic, row["plan_partition"], key, None)

    def _of_result(self, row: Row) -> Iterator[Sent]:
        if row["result_partition"] is not None:
            topic = self.view.settings.broker.topics.writeback_results.name
            yield Sent(topic, row["result_partition"], row["session"].encode(), None)


def _session(message: Message) -> str:
    return (message.key() or b"").decode("ascii", "replace")
