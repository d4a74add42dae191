"""The end of a run: everything heals, the checker judges, and then everything is read once more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from planner.pins.memory import MemoryPins
from schemas.records import BlockReason, PlannedWriteback, ResultStatus
from tests.proof.broker import PLANNED, RESULTS, Fate, Stored
from tests.proof.faults import CrmFault
from tests.proof.planners import pins_in
from tests.proof.writers import WriterProcess, known_from
from tests.support.topics_checker import Logs, judged

if TYPE_CHECKING:
    from tests.proof.world import World


def logs_of(world: World) -> Logs:
    """All that counts. A late word is not the last one: it stands first, and still settles its record."""
    late = _late_words(world)
    counted = [one for one in world.broker.published if one.fate is Fate.COMMITTED]
    in_order = sorted(counted, key=lambda one: one not in late)
    return Logs(in_order, world.crm.log, world.broker.commits, world.baselines)


def _late_words(world: World) -> set[Stored]:
    """Results that came after a final one of a later assignment. Only a transaction keeps a writer from saying them."""
    late: set[Stored] = set()
    final: dict[str | None, int] = {}
    for one, epoch in world.said_in.items():
        if epoch < final.get(one.key, 0):
            late.add(one)
        elif one.value.status is not ResultStatus.RESUME_NEEDED:
            final[one.key] = epoch
    return late


def judge(world: World) -> None:
    world.tell("everything heals")
    world.heal()
    if any(what.startswith("I7") for what in world.findings):
        return
    for what in _wrong(world):
        world.find(what)
    for session in _conflicts_with_nobody(world):
        world.find(f"W2 {session} is a conflict, and no person did anything")
    for writer in world.writers:
        for what in _left_over(writer):
            world.find(what)
    _judge_compaction(world)
    _judge_replay(world)


def _wrong(world: World) -> list[str]:
    """By the three logs. A stale read that shows no queue item yet has the call recorded alone."""
    stale = bool(world.faults[CrmFault.STALE_READ])
    return [what for what in judged(logs_of(world)) if not (stale and what.startswith("W3"))]


def _conflicts_with_nobody(world: World) -> Iterator[str]:
    """The sessions. Two things look like a person's change and are none: the row as it was before, and what later plans
    of the item have made of it since the CRM refused this one, for a cause that then went away.
    """
    by_hand = any(entry["actor"] == "person" and entry["operation"] != "create" for entry in world.crm.log)
    if by_hand or world.faults[CrmFault.STALE_READ]:
        return
    refused: set[str | None] = set()
    late = _late_words(world)  # with transactions they are rolled back
    for one in logs_of(world).of(RESULTS):
        if one in late:
            continue
        reason = getattr(one.value, "block_reason", None)
        if reason is BlockReason.CONFLICT_DETECTED and one.value.queue_item_id in world.items:
            if one.key not in refused:
                yield str(one.key)
        elif reason is not None:
            refused.add(one.key)


def _left_over(writer: WriterProcess) -> list[str]:
    """I13, I11: an engine that has nothing to do holds nothing, and has counted what it said."""
    engine, flow = writer.engine, writer.engine._flow
    held = {
        "requests": len(engine._sent),
        "records": engine._window.held(),
        "lanes abroad": len(flow._abroad),
        "failing plans": len(flow.retry._failing),
        "plans that start": len(flow._starting),
    }
    found = [f"I13 {writer.member} has nothing to do and holds {n} {what}" for what, n in held.items() if n]
    counted = sum(n for (metric, labels), n in writer.counts.items() if metric == "outcomes" and _is_final(labels))
    if counted != len(writer.acknowledged):
        found.append(f"I11 {writer.member} counts {counted} results, and {len(writer.acknowledged)} were acknowledged")
    return found


def _is_final(labels: tuple[str, ...]) -> bool:
    return labels[0] != "resume_needed"


def _judge_compaction(world: World) -> None:
    """I9 The compacted log gives the same as the full one."""
    full = [one for one in world.broker.published if one.fate is Fate.COMMITTED]
    for partition in range(world.setup.partitions):
        plans = [one for one in full if one.topic == PLANNED and one.partition == partition]
        results = [one for one in full if one.topic == RESULTS and one.partition == partition]
        sessions = {one.key for one in plans if one.key}
        before = [_pinned(plans, sessions), known_from(results)]
        for topic in (PLANNED, RESULTS):
            world.broker.compact(topic, partition, world.broker.end(topic, partition), tombstones=True)
        after = [
            _pinned(world.broker.read(PLANNED, partition, 0, 100_000), sessions),
            known_from(world.broker.read(RESULTS, partition, 0, 100_000)),
        ]
        if before[0] != after[0]:
            world.find(f"I9 the pins of partition {partition} differ after compaction")
        # Without transactions the late word of a writer that has lost its partitions may come after a final result.
        if world.setup.transactions and before[1] != after[1]:
            world.find(f"I9 what is known of settled sessions differs after compaction: {before[1]} {after[1]}")


def _pinned(records: list[Stored], sessions: set[str]) -> dict[str, bytes | None]:
    pins = MemoryPins()
    pins.recover(0, pins_in(records), 0)
    return {session: pins.digest(0, session) for session in sorted(sessions)}


def _judge_replay(world: World) -> None:
    """I8 Everything is read again, from the first offset, by new processes: nothing changes for who had settled."""
    settled = {
        session: known
        for partition in range(world.setup.partitions)
        for session, known in known_from(world.broker.read(RESULTS, partition, 0, 100_000)).items()
    }
    done = {session for session, known in settled.items() if known.needs_nothing}
    operations, before = len(world.crm.log), len(world.broker.published)
    for key in list(world.broker.positions):
        del world.broker.positions[key]
    world.tell("everything is read again")
    for n in range(len(world.writers)):
        world.restart(n)
    for n in range(len(world.planners)):
        world.restart_planner(n)
    world.heal()
    changed = _sessions_changed(world, operations)
    for session in sorted(changed & done):
        world.find(f"I8 {session} had settled, and reading everything again has written for it")
    for one in world.broker.published[before:]:
        if one.fate is Fate.COMMITTED and one.topic == PLANNED and not _is_copy(one):
            world.find(f"I8 reading everything again has planned {one.key} again")
    for what in _wrong(world):
        if not what.startswith(("I4", "I15")):
            world.find(f"after a replay: {what}")
    if changed - done:
        world.tell(f"sessions that waited for that have landed: {sorted(changed - done)}")


def _is_copy(one: Stored) -> bool:
    return any(name == "requeue-count" for name, _ in one.headers)


def _sessions_changed(world: World, since: int) -> set[str]:
    """Whose records, or whose session on the row, were written since then."""
    owner = {
        step.record_id: one.value.session_id
        for one in world.broker.published
        if one.topic == PLANNED and isinstance(one.value, PlannedWriteback)
        for step in one.value.steps
        if step.entity_set != "medx_callqueueitems"
    }
    changed: set[str] = set()
    for entry in world.crm.log[since:]:
        session = (entry["changes"].get("medx_lastsessionid") or (None, None))[1]
        changed.add(session or owner.get(entry["id"]) or f"a part of {entry['id']}")
    return changed
