"""The second half of the one checker: what was published and committed, judged against what the CRM did.

    assert judged(Logs(…)) == []

`Logs` are the three logs of a run after it has healed: what was published, the CRM's operation log, and the commits.
Imports no decision of planner or writer: one shared mistake would cancel itself out. Each finding begins with the
invariant that it breaks; `tests/proof/test_checker.py` has a log that breaks each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from schemas.records import BlockReason, CallOutcome, Disposition, PlannedWriteback, ResultStatus, WritebackResult
from tests.support.checker import FLAG, QUEUE_ITEM, Entry, findings

STATUS, DNC = "medx_callstatus", 4
_COPIES = {"requeue-count", "replay", "replan", "accepted-etag"}


class Published(Protocol):
    """A record that counts: aborted ones are no part of the log. `seq` orders everything that happened."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> str | None: ...
    @property
    def value(self) -> Any: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...
    @property
    def seq(self) -> int: ...


class Committed(Protocol):
    @property
    def seq(self) -> int: ...
    @property
    def group(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Logs:
    """`baselines`: session to the operation log's number when its baseline was read."""

    published: Sequence[Published]
    operations: Sequence[Entry]
    commits: Sequence[Committed]
    baselines: Mapping[str, int] = field(default_factory=dict)

    def of(self, topic: str) -> list[Published]:
        return [one for one in self.published if one.topic == topic]


def judged(logs: Logs) -> list[str]:
    """Everything that is wrong, in words."""
    planned = logs.of("planned-writebacks")
    originals = [one for one in planned if isinstance(one.value, PlannedWriteback) and _is_original(one)]
    plans = [one.value for one in originals]
    results = [one.value for one in logs.of("writeback-results") if isinstance(one.value, WritebackResult)]
    return [
        *_outcomes_without_end(logs, originals),
        *_planned_twice(originals),
        *_committed_too_far(logs, planned),
        *_opt_outs_undone(logs.operations),
        *_opt_outs_missing(logs.operations, plans, results),
        *_half_called_complete(results),
        *_rejected_tombstones(logs),
        *_written_over(logs.operations),
        *_blocked_for_nothing(results),
        *findings(logs.operations, plans, results, baselines=logs.baselines),
    ]


def _is_original(one: Published) -> bool:
    return not _COPIES & {name for name, _ in one.headers} and one.value.retired_at is None


def _rejected(logs: Logs, topic: str) -> dict[str, list[Published]]:
    """By the place that was rejected."""
    found: dict[str, list[Published]] = defaultdict(list)
    for one in logs.of(topic):
        where = next((value.decode() for name, value in one.headers if name == "rejected-from"), "?")
        found[where].append(one)
    return found


def _outcomes_without_end(logs: Logs, originals: Sequence[Published]) -> Iterable[str]:
    """I1, I15 Each outcome is planned, known already, or rejected once."""
    rejected = _rejected(logs, "call-outcomes-rejected")
    sources = {(one.value.source.partition, one.value.source.offset): one.value for one in originals}
    planned_from: dict[str, CallOutcome] = {}
    for one in logs.of("call-outcomes"):
        where = f"call-outcomes/{one.partition}/{one.offset}"
        times = len(rejected.get(where, ()))
        if one.value is None:  # somebody erases a queue item: nothing to plan, and nothing to copy
            continue
        outcome, plan = one.value, sources.get((one.partition, one.offset))
        if times > 1:
            yield f"I15 {where} was rejected {times} times"
        if plan is not None:
            if times:
                yield f"I15 {where} was planned and rejected"
            planned_from[plan.session_id] = outcome
        elif not times and (not isinstance(outcome, CallOutcome) or planned_from.get(outcome.session_id) != outcome):
            yield f"I1 {where} was neither planned nor rejected, and is no duplicate"


def _planned_twice(originals: Sequence[Published]) -> Iterable[str]:
    places: dict[str, list[int]] = defaultdict(list)
    for one in originals:
        places[one.value.session_id].append(one.offset)
    yield from (f"I2 {session} was planned {len(at)} times" for session, at in places.items() if len(at) > 1)


def _committed_too_far(logs: Logs, planned: Sequence[Published]) -> Iterable[str]:
    """I4 At every commit, each plan below it had its result, its rejection or its copy before that."""
    settled = _settled_at(logs, planned)
    highest: dict[int, int] = {}
    by_partition: dict[int, list[Published]] = defaultdict(list)
    for one in planned:
        by_partition[one.partition].append(one)
    for commit in logs.commits:
        before = highest.get(commit.partition, 0)
        if commit.group != "writer" or commit.offset <= before:
            continue
        for one in by_partition[commit.partition]:
            if before <= one.offset < commit.offset and settled(one) > commit.seq:
                yield f"I4 {one.key} at {one.partition}/{one.offset} was not settled when {commit.offset} was committed"
        highest[commit.partition] = commit.offset
    yield from _outcomes_committed_too_far(logs)


def _settled_at(logs: Logs, planned: Sequence[Published]) -> Any:
    """A function that says when a record of the planned topic was settled; infinity if it never was."""
    final: dict[tuple[str, int, int], int] = {}
    done: dict[str, int] = {}
    for one in sorted(logs.of("writeback-results"), key=lambda one: one.seq):
        if isinstance(one.value, WritebackResult) and one.value.status is not ResultStatus.RESUME_NEEDED:
            at = one.value.plan
            final.setdefault((one.key or "", at.partition, at.offset), one.seq)
            if one.value.status is not ResultStatus.BLOCKED or one.value.block_reason is BlockReason.ELIGIBILITY:
                done.setdefault(one.key or "", one.seq)
    copies: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for one in planned:
        if _COPIES & {name for name, _ in one.headers}:  # compaction may have taken what is before it
            copies[one.key or ""].append((one.offset, one.seq))
    rejected = _rejected(logs, "planned-writebacks-rejected")

    def settled(one: Published) -> float:
        if one.value is None or getattr(one.value, "retired_at", None) is not None:
            return 0
        key = one.key or ""
        times = [final.get((key, one.partition, one.offset)), done.get(key)]
        times += [seq for offset, seq in copies[key] if offset > one.offset]
        times += [each.seq for each in rejected.get(f"planned-writebacks/{one.partition}/{one.offset}", ())]
        return min((at for at in times if at is not None), default=float("inf"))

    return settled


def _outcomes_committed_too_far(logs: Logs) -> Iterable[str]:
    rejected = _rejected(logs, "call-outcomes-rejected")
    planned = {one.value.session_id: one.seq for one in reversed(logs.of("planned-writebacks")) if _is_plan(one.value)}
    highest: dict[int, int] = {}
    outcomes: dict[int, list[Published]] = defaultdict(list)
    for one in logs.of("call-outcomes"):
        outcomes[one.partition].append(one)
    for commit in logs.commits:
        before = highest.get(commit.partition, 0)
        if commit.group != "planner" or commit.offset <= before:
            continue
        for one in outcomes[commit.partition]:
            if not before <= one.offset < commit.offset:
                continue
            if one.value is None:
                continue
            at = [each.seq for each in rejected.get(f"call-outcomes/{one.partition}/{one.offset}", ())]
            at += [planned.get(getattr(one.value, "session_id", ""), 1 << 60)]
            if min(at) > commit.seq:
                yield f"I4 outcome {one.partition}/{one.offset} was passed before its plan was there"
        highest[commit.partition] = commit.offset


def _is_plan(value: Any) -> bool:
    return isinstance(value, PlannedWriteback) and value.retired_at is None


def _opt_outs_undone(operations: Iterable[Entry]) -> Iterable[str]:
    """I16 No write of ours takes do-not-call back, and none leaves its status."""
    for entry in operations:
        if entry["actor"] != "application" or entry["table"] != QUEUE_ITEM or entry["outcome"] != "committed":
            continue
        before, after = entry["changes"].get(FLAG) or (None, None)
        if before is True and after is not True:
            yield f"I16 entry {entry['seq']} takes the opt-out of {entry['id']} back"
        before, after = entry["changes"].get(STATUS) or (None, None)
        if before == DNC and after != DNC:
            yield f"I16 entry {entry['seq']} leaves the status of an opt-out on {entry['id']}"


def _opt_outs_missing(
    operations: Sequence[Entry], plans: Sequence[PlannedWriteback], results: Sequence[WritebackResult]
) -> Iterable[str]:
    """I16 An opt-out that is said to have landed is on the row, unless a person took it away or deleted the row."""
    held: dict[str, Any] = {}
    by_hand: set[str] = set()
    for entry in operations:
        if entry["table"] != QUEUE_ITEM or entry["outcome"] != "committed":
            continue
        if entry["operation"] == "delete":
            by_hand.add(entry["id"])
        if FLAG in entry["changes"]:
            held[entry["id"]] = entry["changes"][FLAG][1]
            if entry["actor"] == "person" and entry["operation"] != "create":
                by_hand.add(entry["id"])
    landed = _landed(results)
    for plan in plans:
        opted_out = plan.disposition is Disposition.DO_NOT_CALL
        said = opted_out and plan.session_id in landed and plan.queue_item_id not in by_hand
        if said and held.get(plan.queue_item_id) is not True:
            yield f"I16 {plan.session_id} opted out and is said to have landed; {plan.queue_item_id} may be called"


def _landed(results: Iterable[WritebackResult]) -> Collection[str]:
    return {result.session_id for result in results if result.status is ResultStatus.COMPLETED}


def _half_called_complete(results: Iterable[WritebackResult]) -> Iterable[str]:
    """I14 Every step of a completed result has an outcome that says that it is there, or why it is not wanted."""
    for result in results:
        if result.status is ResultStatus.COMPLETED and any(step.outcome == "blocked" for step in result.steps):
            yield f"I14 {result.session_id} is said to be complete, and a step of it is blocked"


def _rejected_tombstones(logs: Logs) -> Iterable[str]:
    """I15 A tombstone is no bad input."""
    for one in logs.of("planned-writebacks-rejected"):
        if one.value is None:
            yield f"I15 a tombstone was rejected: {one.key}"


def _written_over(operations: Iterable[Entry]) -> Iterable[str]:
    """I2 A call or a task is written in the request that creates it, and never again."""
    created: dict[str, Any] = {}
    for entry in operations:
        if entry["actor"] != "application" or entry["table"] == QUEUE_ITEM or entry["outcome"] != "committed":
            continue
        if entry["operation"] == "create":
            created[entry["id"]] = entry["request"]
        elif created.get(entry["id"]) != entry["request"]:
            yield f"I2 {entry['table']} {entry['id']} was written again, entry {entry['seq']}"


def _blocked_for_nothing(results: Iterable[WritebackResult]) -> Iterable[str]:
    """W6 Only the CRM's own words block a plan, and it gives each refusal a code."""
    for result in results:
        for step in result.steps if result.status is ResultStatus.BLOCKED else ():
            if step.http_status in (400, 403, 404) and not step.error_code:
                yield f"W6 {result.session_id} is blocked by a {step.http_status} that is not the CRM's"


def final_state(results: Iterable[Published]) -> dict[str, str]:
    """Session to what its last final result says; for comparing before and after a replay (I8)."""
    state: dict[str, str] = {}
    for one in results:
        if one.key and isinstance(one.value, WritebackResult) and one.value.status is not ResultStatus.RESUME_NEEDED:
            state[one.key] = str(one.value.status)
    return state
