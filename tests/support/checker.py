"""Did the writer keep its promises? Judged by the simulator's operation log, the ground truth. Imports nothing of the
writer: one shared mistake would cancel itself out.

    assert findings(log, plans, results) == []

What is checked, each finding with the promise it breaks: every step took effect at most once (W2), a change set landed
whole or not at all (W3), plans of one queue item in order (W4), nothing lost (W2), every attempt counted once, on what
the row held (W2), no person's change overwritten and no column outside the plan's sent (W7).

A plan that came late, behind a later session of its queue item, or an opt-out in a conflict, updates the queue item in
part: the attempt count, do-not-call, and nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from schemas.records import (
    BlockReason,
    Operation,
    PlannedStep,
    PlannedWriteback,
    ResultStatus,
    StepOutcome,
    WritebackResult,
)

Entry = Mapping[str, Any]

QUEUE_ITEM, PHONE_CALL, TASK, PARTY = "medx_callqueueitem", "phonecall", "task", "activityparty"
SESSION, ATTEMPTS, FLAG = "medx_lastsessionid", "medx_attemptcount", "medx_donotcall"
_BOOKKEEPING = {"modifiedon", "versionnumber", "_modifiedby_value", "_owninguser_value", "_owningbusinessunit_value"}


def findings(
    log: Iterable[Entry],
    plans: Sequence[PlannedWriteback],
    results: Iterable[WritebackResult] = (),
    *,
    baselines: Mapping[str, int] | None = None,
) -> list[str]:
    """Everything that is wrong, in words; empty if nothing is.

    `plans` in the order in which they were published. `baselines`: session to the log's sequence number when its
    baseline was taken; what a person did before that is part of the baseline. Without, it was before every edit.
    """
    committed = [entry for entry in log if entry["outcome"] == "committed"]
    said = list(results)
    last = {result.session_id: result for result in said if result.status is not ResultStatus.RESUME_NEEDED}
    in_doubt = {result.session_id for result in said if result.may_have_landed}
    written = [entry for entry in committed if entry["actor"] == "application"]
    ours = [entry for entry in written if entry["table"] != PARTY]
    landed = _landed(ours)
    updated = {session for _, session, _ in landed}
    """Sessions whose update of the queue item took effect."""
    created = {entry["id"] for entry in ours if entry["operation"] == "create"}
    late = {session for session, result in last.items() if _came_late(result)} | _late_and_unseen(committed, plans)
    """Sessions that were recorded behind a later one of their queue item."""
    return [
        *_more_than_once(ours, plans),
        *_wrong_parties([entry for entry in written if entry["table"] == PARTY], created, plans),
        *_miscounted(ours, plans, last, late=late, deleted=_deleted(committed)),
        *_out_of_order(landed, plans),
        *_lost(plans, last, late=late, updated=updated, created=created),
        *_in_pieces(committed, plans, last, late=late, updated=updated, created=created),
        *_overwritten(committed, plans, baselines or {}, in_doubt),
        *_strange_columns(ours, plans),
    ]


def writes(log: Iterable[Entry]) -> list[Entry]:
    """Everything that an application user tried to write, whatever became of it: for a dry run, this is empty (W8)."""
    return [entry for entry in log if entry["actor"] == "application"]


def _landed(ours: Iterable[Entry]) -> list[tuple[str, str, Entry]]:
    """(queue item, session, entry) of every update of a queue item, in order. An update that is nobody's session's
    shows the empty session."""
    updates = (e for e in ours if e["table"] == QUEUE_ITEM and e["operation"] in ("update", "create", "patch"))
    return [(e["id"], (e["changes"].get(SESSION) or ["", ""])[1] or "", e) for e in updates]


def _more_than_once(ours: Sequence[Entry], plans: Sequence[PlannedWriteback]) -> Iterable[str]:
    creates = Counter((e["table"], e["id"]) for e in ours if e["operation"] == "create")
    yield from (f"W2 {table} {id_} was created {n} times" for (table, id_), n in creates.items() if n > 1)
    known = {step.record_id for plan in plans for step in plan.steps}
    yield from (f"W2 {table} {id_} is in no plan" for table, id_ in creates if id_ not in known)
    completions = Counter(
        e["id"] for e in ours if e["table"] == PHONE_CALL and "statecode" in e["changes"] and e["operation"] != "create"
    )
    yield from (f"W2 phone call {id_} was completed {n} times" for id_, n in completions.items() if n > 1)
    updates = _landed(ours)
    sessions = Counter(session for _, session, _ in updates)
    yield from (f"W2 the queue item update of {s} took effect {n} times" for s, n in sessions.items() if s and n > 1)
    yield from (
        f"W2 queue item {item} was updated without a new session, entry {e['seq']}"
        for item, s, e in updates
        if not s and not _is_partial(e)
    )
    yield from (
        f"W2 queue item {item} was created by an update, entry {e['seq']}"
        for item, _, e in updates
        if e["operation"] == "create"
    )


def _wrong_parties(
    parties: Sequence[Entry], created: Collection[str], plans: Sequence[PlannedWriteback]
) -> Iterable[str]:
    made: dict[str, Counter[tuple[int, str]]] = defaultdict(Counter)
    for entry in parties:
        if entry["operation"] != "create":
            yield f"W7 a party was changed after its call was made, entry {entry['seq']}"
            continue
        shown = {name: new for name, (_, new) in entry["changes"].items()}
        made[shown["_activityid_value"]][shown["participationtypemask"], shown["_partyid_value"]] += 1
    for call in (step for plan in plans for step in plan.steps if step.operation is Operation.CREATE_PHONE_CALL):
        members = call.activity_parties.members if call.activity_parties and call.record_id in created else ()
        if made.pop(call.record_id, Counter()) != Counter((one.participation, one.record_id) for one in members):
            yield f"W2 phone call {call.record_id} has other parties than its plan"
    yield from (f"W2 {call} is in no plan, and got parties" for call in made)


def _is_partial(entry: Entry) -> bool:
    return set(entry["changes"]) - _BOOKKEEPING <= {ATTEMPTS, FLAG}


def _deleted(committed: Sequence[Entry]) -> set[str]:
    """Queue items that a person deleted."""
    return {e["id"] for e in committed if e["table"] == QUEUE_ITEM and e["operation"] == "delete"}


def _miscounted(
    ours: Sequence[Entry],
    plans: Sequence[PlannedWriteback],
    results: Mapping[str, WritebackResult],
    *,
    late: Collection[str],
    deleted: Collection[str],
) -> Iterable[str]:
    """Each session that placed a call adds one, when it lands or when it is recorded late; a full column stays.

    A session that was counted late and whose result was lost cannot know of it once the row was deleted: it is blocked.
    """
    by_session = {plan.session_id: plan for plan in plans}
    parts: Counter[str] = Counter()
    for item, session, entry in _landed(ours):
        before, after = entry["changes"].get(ATTEMPTS) or [None, None]
        if ATTEMPTS in entry["changes"] and after != (before or 0) + 1:
            yield f"W2 entry {entry['seq']} counts {before} up to {after} on queue item {item}"
        plan = by_session.get(session)
        if plan and ATTEMPTS in entry["changes"] and not _update(plan).increments:
            yield f"W2 {session} placed no call, and was counted"
        parts[item] += not session and ATTEMPTS in entry["changes"]
    may_be_counted = Counter(
        plan.queue_item_id
        for plan in by_session.values()
        if plan.session_id in late
        or (
            plan.queue_item_id in deleted
            and (result := results.get(plan.session_id)) is not None
            and result.block_reason is BlockReason.CONFLICT_DETECTED
        )
    )
    yield from (
        f"W2 queue item {item} was counted {n} times without a session, for {may_be_counted[item]} late ones"
        for item, n in parts.items()
        if n > may_be_counted[item]
    )


def _update(plan: PlannedWriteback) -> PlannedStep:
    return next(step for step in plan.steps if step.operation is Operation.UPDATE_QUEUE_ITEM)


def _came_late(result: WritebackResult) -> bool:
    return any(step.outcome is StepOutcome.SUPERSEDED for step in result.steps)


def _late_and_unseen(committed: Sequence[Entry], plans: Sequence[PlannedWriteback]) -> set[str]:
    """Sessions whose task was created while the row showed a later session of theirs, and whose row a person has
    deleted since: if that result was lost, nobody can see any more that they were late.
    """
    number = {plan.session_id: number for number, plan in enumerate(plans)}
    plan_of = {s.record_id: plan for plan in plans for s in plan.steps if s.operation is Operation.CREATE_TASK}
    shown: dict[str, str] = {}
    """Queue item to the session that landed there last."""
    late = set()
    for entry in committed:
        if entry["table"] == QUEUE_ITEM and (session := (entry["changes"].get(SESSION) or ["", ""])[1]):
            shown[entry["id"]] = session
        plan = plan_of.get(entry["id"]) if entry["operation"] == "create" else None
        if plan and number.get(shown.get(plan.queue_item_id, ""), -1) > number[plan.session_id]:
            late.add(plan.session_id)
    return late & _of_deleted_rows(committed, plans)


def _out_of_order(landed: Sequence[tuple[str, str, Entry]], plans: Sequence[PlannedWriteback]) -> Iterable[str]:
    place = {plan.session_id: number for number, plan in enumerate(plans)}
    by_item: dict[str, list[int]] = defaultdict(list)
    for item, session, _ in landed:
        if session:
            by_item[item].append(place.get(session, -1))
    yield from (
        f"W4 the plans of queue item {item} landed out of order: {found}"
        for item, found in by_item.items()
        if found != sorted(found)
    )


def _lost(
    plans: Sequence[PlannedWriteback],
    results: Mapping[str, WritebackResult],
    *,
    late: Collection[str],
    updated: Collection[str],
    created: Collection[str],
) -> Iterable[str]:
    for plan in {plan.session_id: plan for plan in plans}.values():
        result = results.get(plan.session_id)
        if result is None:
            yield f"W2 nobody was told what became of {plan.session_id}"
        elif result.status is ResultStatus.COMPLETED or result.block_reason is BlockReason.ELIGIBILITY:
            came_late = plan.session_id in late
            wanted = [s for s in plan.steps if s.operation is Operation.CREATE_PHONE_CALL or not came_late]
            missing = [s.operation for s in wanted if _is_create(s.operation) and s.record_id not in created]
            missing += [] if came_late or plan.session_id in updated else [Operation.UPDATE_QUEUE_ITEM]
            if missing:
                yield f"W2 {plan.session_id} is said to have landed, but lacks {', '.join(missing)}"
        elif result.status is ResultStatus.BLOCKED and not result.message:
            yield f"W2 {plan.session_id} is blocked, and nobody was told what to do"


def _in_pieces(
    committed: Sequence[Entry],
    plans: Sequence[PlannedWriteback],
    results: Mapping[str, WritebackResult],
    *,
    late: Collection[str],
    updated: Collection[str],
    created: Collection[str],
) -> Iterable[str]:
    """Only a conflict leaves the call without the queue item's update. So does one whose result was lost in a crash,
    and which a person has put right since: then the record is blocked, and the message says so. And so does one whose
    call was sent without an answer, refused afterwards, and arrived late: its result says that it may have landed.
    Without a person's change of the row there was no conflict.
    """
    unseen = _of_deleted_rows(committed, plans)
    edits = (entry for entry in committed if entry["actor"] == "person" and entry["operation"] != "create")
    changed = {entry["id"] for entry in edits if entry["table"] == QUEUE_ITEM}
    for plan in plans:
        there = {s.operation for s in plan.steps if _is_create(s.operation) and s.record_id in created}
        result = results.get(plan.session_id)
        conflict = result is not None and result.block_reason is BlockReason.CONFLICT_DETECTED
        blocked = result is not None and result.block_reason is BlockReason.PERMANENT_OTHER
        in_doubt = result is not None and result.may_have_landed
        was_one = (blocked or in_doubt) and plan.queue_item_id in changed and Operation.CREATE_TASK not in there
        alone = conflict or plan.session_id in late or was_one
        if there and plan.session_id not in updated and not alone:
            yield f"W3 {plan.session_id} landed in pieces: {', '.join(sorted(there))} without the queue item's update"
        if (
            conflict
            and plan.session_id not in unseen
            and (plan.session_id in updated or Operation.CREATE_TASK in there)
        ):
            yield f"W3 {plan.session_id} is a conflict, but more than the call was written"


def _of_deleted_rows(committed: Iterable[Entry], plans: Iterable[PlannedWriteback]) -> set[str]:
    """Sessions whose update nobody can see any more: a person has deleted the row."""
    gone = {entry["id"] for entry in committed if entry["table"] == QUEUE_ITEM and entry["operation"] == "delete"}
    return {plan.session_id for plan in plans if plan.queue_item_id in gone}


def _is_create(operation: Operation) -> bool:
    return operation in (Operation.CREATE_PHONE_CALL, Operation.CREATE_TASK)


def _overwritten(
    committed: Sequence[Entry],
    plans: Sequence[PlannedWriteback],
    baselines: Mapping[str, int],
    in_doubt: Collection[str],
) -> Iterable[str]:
    """`in_doubt`: sessions that may have landed."""
    by_session = {plan.session_id: plan for plan in plans}
    edits: dict[str, dict[str, list[_Edit]]] = defaultdict(lambda: defaultdict(list))
    """Queue item to column to what people did to it since a write of ours."""
    for entry in committed:
        if entry["table"] != QUEUE_ITEM:
            continue
        of_item = edits[entry["id"]]
        if entry["actor"] == "person":
            for column in entry["changes"].keys() - _BOOKKEEPING:
                of_item[column].append((entry["seq"], *entry["changes"][column]))
        elif entry["actor"] == "application" and (session := (entry["changes"].get(SESSION) or [None, None])[1]):
            plan = by_session.get(session)
            concerned = _concerned(plan) if plan else set()
            since = baselines.get(session, 0)
            late = sorted(c for c in concerned if plan and _changed(of_item[c], since, _unseen(plan, c, in_doubt)))
            if late:
                yield f"W7 {session} was written over a person's change of {', '.join(late)}"
            for column in _update(plan).attributes if plan else ():  # from here on it holds what our session says
                of_item[column].clear()
        elif entry["actor"] == "application" and FLAG in entry["changes"] and of_item[FLAG]:
            # An opt-out that was recorded beside a conflict or late: the flag holds that again, not what a person left.
            of_item[FLAG].append((entry["seq"], *entry["changes"][FLAG]))


_Edit = tuple[int, Any, Any]
"""When, and from what to what."""


def _unseen(plan: PlannedWriteback, column: str, in_doubt: Collection[str]) -> list[Any]:
    """What a person may set without a trace: what the baseline says, and what sessions in doubt would have written."""
    shown = [plan.baseline.columns, *(each.columns for each in plan.preceding if each.session_id in in_doubt)]
    return [columns[column] for columns in shown if column in columns]


def _changed(edits: Sequence[_Edit], since: int, unseen: Collection[Any]) -> bool:
    """Not if the column holds again what it held before, or one of `unseen`."""
    later = [edit for edit in edits if edit[0] > since]
    return bool(later) and later[-1][2] != later[0][1] and later[-1][2] not in unseen


def _concerned(plan: PlannedWriteback) -> set[str]:
    """The columns in which a person's change is a conflict. What an opt-out sets, its own or that of a session before
    it, may be set already.
    """
    update = _update(plan)
    opted_out = any(columns.get(FLAG) is True for columns in (update.attributes, *(p.columns for p in plan.preceding)))
    set_by_it = {FLAG} if opted_out else set()
    return {*plan.baseline.columns, *update.attributes} - {*update.increments, *set_by_it}


def _strange_columns(ours: Sequence[Entry], plans: Sequence[PlannedWriteback]) -> Iterable[str]:
    by_session = {plan.session_id: plan for plan in plans}
    for _, session, entry in _landed(ours):
        if plan := by_session.get(session):
            update = _update(plan)
            planned = {*update.attributes, *update.increments}
            if strange := sorted(set(entry["changes"]) - planned - _BOOKKEEPING):
                yield f"W7 {session} changed columns outside its plan: {', '.join(strange)}"
