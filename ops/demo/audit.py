"""Does the CRM hold exactly what the published calls say? Pure, and from the CRM's own records and operation log only.

The expectation is written down here once more, from the domain's disposition table, and imports nothing of the planner:
an auditor who asks the audited what is right finds nothing wrong.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.records import Disposition, QueueStatus


@dataclass(frozen=True, slots=True)
class Expected:
    """What one session leaves behind. A status of None leaves the queue item's as it was."""

    calls: int
    tasks: int
    status: QueueStatus | None


EXPECTED: Mapping[Disposition, Expected] = {
    Disposition.INTERESTED_CALLBACK_REQUESTED: Expected(1, 1, QueueStatus.READY),
    Disposition.INTERESTED_EMAIL_CAPTURED: Expected(1, 1, QueueStatus.COMPLETED),
    Disposition.NOT_INTERESTED: Expected(1, 0, QueueStatus.COMPLETED),
    Disposition.CALL_BACK_LATER: Expected(1, 1, QueueStatus.READY),
    Disposition.WRONG_NUMBER: Expected(1, 0, QueueStatus.BLOCKED),
    Disposition.NO_ANSWER: Expected(1, 0, QueueStatus.READY),
    Disposition.VOICEMAIL: Expected(1, 0, QueueStatus.READY),
    Disposition.DO_NOT_CALL: Expected(1, 0, QueueStatus.DNC),
    Disposition.NEEDS_HUMAN_REVIEW: Expected(1, 1, QueueStatus.BLOCKED),
    Disposition.FAILED: Expected(1, 0, QueueStatus.READY),
    Disposition.BLOCKED: Expected(0, 0, None),
}


@dataclass(frozen=True, slots=True)
class Call:
    """One session that a call system published, opt-out already weighed; in the order of publication."""

    session_id: str
    queue_item_id: str
    disposition: Disposition


@dataclass(frozen=True, slots=True)
class ItemState:
    """A queue item as the CRM has it in the end."""

    status: QueueStatus | None
    attempts: int
    do_not_call: bool
    last_session_id: str | None


@dataclass(frozen=True, slots=True)
class Crm:
    """What the CRM's own records say."""

    calls: Sequence[str]
    """Session id of each completed phone call."""
    open_calls: Sequence[str]
    """Session id of each phone call that was created but never completed."""
    tasks: Sequence[str]
    """Session id of each task."""
    items: Mapping[str, ItemState]
    """Queue item id to its final state."""
    updates: Sequence[tuple[str, str]]
    """(queue item id, session id) of every committed update by a write-back, in the order of the operation log."""


@dataclass(frozen=True, slots=True)
class Tally:
    """One row of the report: what a disposition should have left, and what was found."""

    sessions: int = 0
    expected_calls: int = 0
    found_calls: int = 0
    expected_tasks: int = 0
    found_tasks: int = 0
    updates: int = 0


@dataclass(frozen=True, slots=True)
class Audit:
    by_disposition: Mapping[Disposition, Tally]
    duplicates: Sequence[str]
    losses: Sequence[str]
    out_of_order: Sequence[str]
    wrong_items: Sequence[str]
    strangers: Sequence[str] = field(default_factory=tuple)

    @property
    def right(self) -> bool:
        return not (self.duplicates or self.losses or self.out_of_order or self.wrong_items or self.strangers)


def audit(published: Sequence[Call], crm: Crm) -> Audit:
    """Compare publication with the CRM. Every finding names the session or queue item and what is wrong with it."""
    calls, tasks = Counter(crm.calls), Counter(crm.tasks)
    updates = Counter(session for _, session in crm.updates)
    known = {call.session_id for call in published}
    duplicates, losses = [], []
    for call in published:
        expected, session = EXPECTED[call.disposition], call.session_id
        for what, wanted, found in (
            ("phone call", expected.calls, calls[session]),
            ("task", expected.tasks, tasks[session]),
            ("queue item update", 1, updates[session]),
        ):
            if found > wanted:
                duplicates.append(f"{session}: {found} × {what}, {wanted} expected")
            elif found < wanted:
                losses.append(f"{session}: {found} × {what}, {wanted} expected")
    losses += [f"{session}: phone call created but not completed" for session in crm.open_calls]
    return Audit(
        by_disposition=_tallies(published, calls, tasks, updates),
        duplicates=duplicates,
        losses=losses,
        out_of_order=_out_of_order(published, crm.updates),
        wrong_items=_wrong_items(published, crm.items),
        strangers=sorted({*crm.calls, *crm.tasks} - known),
    )


def _tallies(
    published: Iterable[Call], calls: Counter[str], tasks: Counter[str], updates: Counter[str]
) -> dict[Disposition, Tally]:
    sessions: dict[Disposition, list[str]] = defaultdict(list)
    for call in published:
        sessions[call.disposition].append(call.session_id)
    return {
        disposition: Tally(
            sessions=len(of),
            expected_calls=len(of) * EXPECTED[disposition].calls,
            found_calls=sum(calls[s] for s in of),
            expected_tasks=len(of) * EXPECTED[disposition].tasks,
            found_tasks=sum(tasks[s] for s in of),
            updates=sum(updates[s] for s in of),
        )
        for disposition, of in sorted(sessions.items())
    }


def _out_of_order(published: Iterable[Call], updates: Iterable[tuple[str, str]]) -> list[str]:
    wanted, found = _by_item((c.queue_item_id, c.session_id) for c in published), _by_item(updates)
    return [
        f"queue item {item}: updated in the order {', '.join(found[item][:6])}…"
        for item in wanted
        if sorted(wanted[item]) == sorted(found[item]) and wanted[item] != found[item]
    ]


def _by_item(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = defaultdict(list)
    for item, session in pairs:
        grouped[item].append(session)
    return grouped


def _wrong_items(published: Iterable[Call], items: Mapping[str, ItemState]) -> list[str]:
    """Every item's final state is that of its last session, with all its attempts counted."""
    sessions: dict[str, list[Call]] = defaultdict(list)
    for call in published:
        sessions[call.queue_item_id].append(call)
    problems = []
    for item, calls in sessions.items():
        if (found := items.get(item)) is None:
            problems.append(f"queue item {item}: is not there")
            continue
        wanted = _final(calls)
        if wanted != (found.attempts, found.do_not_call, found.last_session_id):
            actual = (found.attempts, found.do_not_call, found.last_session_id)
            problems.append(f"queue item {item}: (attempts, do not call, last session) is {actual}, should be {wanted}")
        status = EXPECTED[calls[-1].disposition].status
        if status is not None and status != found.status:
            problems.append(f"queue item {item}: status is {found.status}, should be {status}")
    return problems


def _final(calls: Sequence[Call]) -> tuple[int, bool, str]:
    attempts = sum(call.disposition is not Disposition.BLOCKED for call in calls)
    dnc = any(call.disposition is Disposition.DO_NOT_CALL for call in calls)
    return attempts, dnc, calls[-1].session_id
