"""W4 and W1 across appending again: the order of a lane, and where a crash starts again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from writer.core.ledger import METADATA_LIMIT, Ledger
from writer.core.requeue import Requeues


def test_W4_those_behind_a_plan_of_which_there_is_no_copy_do_not_wait_for_one() -> None:
    requeues = Requeues()
    requeues.requeue("lane", 5, "first", 1)
    requeues.requeue("lane", 6, "second", 1)
    requeues.not_copied("lane", 5)
    requeues.appended("lane", 6, 20)
    assert not requeues.must_follow("lane", 20, "second", 1)
    assert requeues.arrived(21) == [[5, 6]]


def test_W4_a_plan_read_from_between_goes_behind_the_others() -> None:
    requeues = Requeues()
    requeues.requeue("item", 10, "s1", 1)
    requeues.requeue("item", 11, "s2", 1)

    assert requeues.must_follow("item", 12, "s3", 0)
    assert not requeues.must_follow("another item", 13, "s9", 0)
    assert not requeues.must_follow("item", 20, "s1", 1), "the copy itself"
    assert requeues.must_follow("item", 21, "s3", 0), "s2's copy was not read yet"
    assert not requeues.must_follow("item", 22, "s2", 1)
    assert not requeues.must_follow("item", 23, "s3", 0)


def test_W4_a_later_plans_copy_does_not_overtake_an_earlier_plan_that_failed_once_more() -> None:
    requeues = Requeues()
    requeues.requeue("item", 10, "s1", 1)
    requeues.requeue("item", 11, "s2", 1)
    assert not requeues.must_follow("item", 20, "s1", 1)
    requeues.requeue("item", 20, "s1", 2)

    assert requeues.must_follow("item", 21, "s2", 1), "s1 is on its way again, ahead of it"
    requeues.requeue("item", 21, "s2", 2)
    assert not requeues.must_follow("item", 22, "s1", 2)
    assert not requeues.must_follow("item", 23, "s2", 2)


@pytest.mark.parametrize("second", [196, 198])
def test_W4_a_session_that_is_in_its_lane_twice_is_waited_for_twice_and_goes_to_the_back_once(second: int) -> None:
    """An operator has a session tried again while it waits. If only the newest copy were waited for, the other one, and
    all behind it, would be requeued again and again.
    """
    requeues = Requeues()
    for offset, session, count in ((10, "s1", 196), (11, "s1", second), (12, "s2", 197)):
        requeues.requeue("item", offset, session, count)
    assert not requeues.must_follow("item", 20, "s1", 196)
    assert not requeues.must_follow("item", 21, "s1", second)
    assert not requeues.must_follow("item", 22, "s2", 197)


def test_W4_a_copy_that_compaction_took_is_not_waited_for() -> None:
    """Of two records of a session only the later one may be left."""
    requeues = Requeues()
    for offset, session in ((10, "s1"), (11, "s2"), (12, "s1"), (13, "s3")):
        requeues.requeue("item", offset, session, 1)
        requeues.appended("item", offset, offset + 10)
    assert requeues.must_follow("item", 21, "s2", 1), "the later record of s1 may be its next copy"
    requeues.requeue("item", 21, "s2", 2)
    assert not requeues.must_follow("item", 22, "s1", 1)
    requeues.appended("item", 21, 30)
    assert not requeues.must_follow("item", 31, "s3", 1), "s2's copy at 30 was not there, and s3's own is gone as well"
    assert requeues.arrived(32) == [[10, 11, 12, 13, 21]]


def to_the_back(
    requeues: Requeues, session: str, at: int, copy: int, *, count: int = 1, behind: Sequence[str] = ()
) -> None:
    """A plan of the item is requeued from one offset to another one, behind sessions whose copies lie before 30."""
    requeues.expect("item", session, behind, 30)
    requeues.requeue("item", at, session, count)
    requeues.appended("item", at, copy)


def test_W4_sessions_that_others_requeued_go_before_those_that_were_read_first() -> None:
    requeues = Requeues()
    to_the_back(requeues, "s3", 15, 30, behind=["s1", "s2"])
    assert requeues.must_follow("item", 16, "s4", 0)
    to_the_back(requeues, "s4", 16, 31)
    assert not requeues.must_follow("item", 20, "s1", 7), "however often it was requeued"
    assert not requeues.must_follow("item", 21, "s2", 7)
    assert not requeues.must_follow("item", 30, "s3", 1)
    assert not requeues.must_follow("item", 31, "s4", 1)
    assert requeues.arrived(32) == [[15, 16]]
    assert requeues.on_their_way() == 0


def test_W4_a_session_that_was_requeued_behind_others_goes_before_the_one_that_knows_better() -> None:
    """s4 was planned when s1 had landed already, though it has no result: it does not name it. s2 does."""
    requeues = Requeues()
    to_the_back(requeues, "s4", 15, 30, behind=["s2", "s3"])
    assert requeues.must_follow("item", 20, "s1", 1), "nobody has said yet that it belongs before the others"
    to_the_back(requeues, "s1", 20, 31, count=2)
    assert not requeues.must_follow("item", 21, "s2", 1)
    to_the_back(requeues, "s2", 21, 32, count=2, behind=["s1"])
    assert requeues.must_follow("item", 22, "s3", 1)
    to_the_back(requeues, "s3", 22, 33, count=2, behind=["s1", "s2"])
    assert requeues.must_follow("item", 30, "s4", 1)
    to_the_back(requeues, "s4", 30, 34, count=2)
    for offset, session in enumerate(("s1", "s2", "s3", "s4"), 31):
        assert not requeues.must_follow("item", offset, session, 2)


def test_W4_an_expected_session_that_is_requeued_once_more_stays_before_the_others() -> None:
    requeues = Requeues()
    to_the_back(requeues, "s2", 15, 30, behind=["s1"])
    assert not requeues.must_follow("item", 20, "s1", 1)
    to_the_back(requeues, "s1", 20, 31, count=2)
    assert requeues.must_follow("item", 30, "s2", 1), "s1 is on its way again, ahead of it"
    to_the_back(requeues, "s2", 30, 32, count=2)
    assert not requeues.must_follow("item", 31, "s1", 2)


def test_W4_nobody_waits_for_an_expected_session_behind_the_place_up_to_which_it_may_come() -> None:
    requeues = Requeues()
    to_the_back(requeues, "s2", 15, 30, behind=["s1"])
    assert not requeues.must_follow("item", 30, "s2", 1)
    assert requeues.arrived(31) == [[15]]


def test_W1_the_originals_are_settled_when_the_last_copy_was_read_all_at_once() -> None:
    requeues = Requeues()
    requeues.requeue("item", 10, "s1", 1)
    requeues.requeue("item", 11, "s2", 1)
    requeues.appended("item", 10, 20)
    assert requeues.arrived(30) == [], "the second copy is not acknowledged"
    requeues.appended("item", 11, 22)

    assert requeues.arrived(22) == []
    assert requeues.on_their_way() == 1
    assert requeues.arrived(23) == [[10, 11]]
    assert requeues.arrived(24) == []
    assert requeues.on_their_way() == 0


def test_W1_the_originals_wait_for_a_copy_that_joined_when_the_others_were_acknowledged() -> None:
    requeues = Requeues()
    for lane in ("a", "b"):
        requeues.requeue(lane, 10, "s1", 1)
        requeues.appended(lane, 10, 20)
        assert requeues.must_follow(lane, 12, "s2", 0)
        assert requeues.must_follow(lane, 13, "s1", 0), "tried again by an operator, and no copy"
        requeues.requeue(lane, 12, "s2", 1)
    requeues.appended("a", 12, 25)
    assert requeues.arrived(21) == [], "that of b is not acknowledged, and that of a was not read"
    requeues.appended("b", 12, 26)
    assert requeues.arrived(26) == [[10, 12]]
    assert requeues.arrived(27) == [[10, 12]]


def test_W4_a_copy_that_compaction_took_is_not_taken_for_the_other_one_of_its_session() -> None:
    """The other one may be read before the broker's acknowledgement of it is heard."""
    requeues = Requeues()
    for offset, session, count in ((10, "s1", 1), (11, "s1", 1), (12, "s2", 1)):
        requeues.requeue("item", offset, session, count)
    requeues.appended("item", 10, 20)
    assert not requeues.must_follow("item", 21, "s1", 1)
    assert not requeues.must_follow("item", 22, "s2", 1)


def test_W4_either_copy_of_the_first_session_may_come_first() -> None:
    """Compaction took the earlier one, of which the broker's acknowledgement was not heard yet."""
    requeues = Requeues()
    requeues.requeue("item", 10, "s1", 1)
    requeues.requeue("item", 11, "s1", 2)
    assert not requeues.must_follow("item", 21, "s1", 2)


def test_W4_a_session_keeps_its_place_when_it_is_requeued_again_behind_later_ones() -> None:
    requeues = Requeues()
    for offset, session in ((10, "s1"), (11, "s2"), (12, "s3")):
        requeues.requeue("item", offset, session, 1)
    assert not requeues.must_follow("item", 20, "s1", 1)
    assert not requeues.must_follow("item", 21, "s2", 1)
    assert requeues.must_follow("item", 22, "s4", 0), "s3's copy was not read yet"
    for offset, session, count in ((20, "s1", 2), (21, "s2", 2), (22, "s4", 1)):
        requeues.requeue("item", offset, session, count)
    assert requeues.must_follow("item", 23, "s3", 1), "s1 and s2 are on their way again, ahead of it"


def test_W1_a_lane_is_settled_at_its_last_copy_in_whatever_order_the_broker_acknowledges() -> None:
    requeues = Requeues()
    requeues.requeue("item", 10, "s1", 1)
    requeues.requeue("item", 11, "s2", 1)
    requeues.appended("item", 11, 22)
    requeues.appended("item", 10, 20)
    assert requeues.arrived(22) == []
    assert requeues.arrived(23) == [[10, 11]]


def test_W1_a_lane_does_not_wait_for_another_one_whose_copies_are_further_behind() -> None:
    requeues = Requeues()
    requeues.requeue("a", 10, "s1", 1)
    requeues.requeue("b", 11, "s2", 1)
    requeues.appended("a", 10, 30)
    requeues.appended("b", 11, 20)
    assert requeues.arrived(21) == [[11]]
    assert requeues.arrived(31) == [[10]]


def test_W1_the_originals_are_settled_once_if_no_copy_came_of_a_plan_that_joined() -> None:
    requeues = Requeues()
    requeues.requeue("item", 10, "s1", 1)
    requeues.appended("item", 10, 20)
    requeues.requeue("item", 12, "s2", 1)
    requeues.not_copied("item", 12)
    assert requeues.arrived(21) == [[10, 12]]
    assert requeues.arrived(22) == []


@dataclass
class Topic:
    """One partition: session and replay count per offset; the planner appends between the writer's copies."""

    records: list[tuple[str, str, int] | None] = field(default_factory=list)

    def append(self, key: str, session: str, count: int) -> int:
        self.records.append((key, session, count))
        return len(self.records) - 1

    def compact(self, newest: int = 0) -> None:
        """Of each session the last record is left; the newest records are not looked at."""
        old = self.records[: max(0, len(self.records) - newest)]
        last = {record[1]: offset for offset, record in enumerate(old) if record is not None}
        kept = [record if record and last[record[1]] == offset else None for offset, record in enumerate(old)]
        self.records = [*kept, *self.records[len(old) :]]


@dataclass
class Run:
    """One writer's life: reads, moves lanes to the back for some, lands others in the order of their lane."""

    topic: Topic
    ledger: Ledger
    requeues: Requeues
    planned: Mapping[str, list[str]]
    landed: list[tuple[str, str]]
    first_end: int
    """Where the topic ended when this life began."""
    lanes: defaultdict[str, list[tuple[int, str, int]]] = field(default_factory=lambda: defaultdict(list))

    def read(self) -> bool:
        left = enumerate(self.topic.records[self.ledger.position :], self.ledger.position)
        if (found := next(((offset, record) for offset, record in left if record is not None), None)) is None:
            return False
        offset, (key, session, count) = found
        if self.ledger.arrived(offset):
            if self.requeues.must_follow(key, offset, session, count):
                self.append([(offset, session, count)], key)
            else:
                self.lanes[key].append((offset, session, count))
        for lane in self.requeues.arrived(self.ledger.position):
            self.ledger.settle_together(lane)
        return True

    def read_all(self) -> None:
        while self.read():
            assert len(self.topic.records) < 10_000, "plans go to the back of the topic without end"

    def append(self, plans: list[tuple[int, str, int]], key: str) -> None:
        for offset, session, count in plans:
            if offset < self.first_end:
                self.requeues.expect(key, session, self.missing_before(key, session), self.first_end)
            self.requeues.requeue(key, offset, session, count + 1)
        for offset, session, count in plans:
            self.requeues.appended(key, offset, self.topic.append(key, session, count + 1))

    def to_the_back(self, key: str) -> None:
        plans, self.lanes[key] = self.lanes[key], []
        self.append(plans, key)

    def missing_before(self, key: str, session: str) -> list[str]:
        planned = self.planned[key]
        return [one for one in planned[: planned.index(session)] if (key, one) not in self.landed]

    def land(self, key: str) -> None:
        if self.lanes[key]:
            offset, session, _ = self.lanes[key][0]
            if offset < self.first_end and self.missing_before(key, session):
                self.to_the_back(key)
                return
            offset, session, _ = self.lanes[key].pop(0)
            self.landed.append((key, session))
            self.ledger.settle(offset)


def _start(
    topic: Topic,
    committed: tuple[int, str],
    limit: int,
    planned: Mapping[str, list[str]],
    landed: list[tuple[str, str]],
) -> Run:
    return Run(topic, Ledger(0, *committed, metadata_limit=limit), Requeues(), planned, landed, len(topic.records))


def _session_of(move: str, number: int, planned: list[str]) -> str:
    """A new one, or one that was planned before."""
    if move == "plan" or not planned:
        planned.append(f"s{number}")
        return planned[-1]
    return planned[number % len(planned)]


KINDS = ["plan", "plan", "replay", "read", "read all", "back", "land", "crash"]
MOVES = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from("abc")), max_size=80)


LIMITS = st.one_of(st.just(METADATA_LIMIT), st.integers(0, 40))
"""Bytes of commit metadata: from 16 on there is room for what is nearest."""


PLANS_OF_TWO = [("plan", "a"), ("plan", "b"), ("plan", "a"), ("read all", "a")]


LANES = st.sampled_from("ab")
READ_AND_BACK = [("read", "a"), ("back", "a")]
OF_A = [("plan", "a"), ("land", "a"), ("read all", "a"), ("land", "a"), ("land", "a")]


def _live(moves: list[tuple[str, str]], limit: int) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """What was planned in each lane, and what landed, in these orders."""
    topic, landed = Topic(), list[tuple[str, str]]()
    planned: defaultdict[str, list[str]] = defaultdict(list)
    committed = 0, ""
    run = _start(topic, committed, limit, planned, landed)
    for number, (move, key) in enumerate(moves):
        match move:
            case "plan" | "replay":
                topic.append(key, _session_of(move, number, planned[key]), 0)
            case "compact":
                topic.compact(number % 4)
            case "read":
                run.read()
            case "read all":
                run.read_all()
            case "back":
                run.to_the_back(key)
            case "land":
                run.land(key)
            case "crash":
                run = _start(topic, committed, limit, planned, landed)
        if (commit := run.ledger.commit()) is not None:
            committed = commit.offset, commit.metadata
    _finish(run)
    return planned, landed


@settings(max_examples=600)
@given(MOVES, LIMITS)
@example([*PLANS_OF_TWO, ("back", "a"), ("read all", "a"), ("crash", "a")], 0)
@example([*PLANS_OF_TWO, ("back", "a"), ("replay", "a"), ("read all", "a"), ("back", "a")], 0)
def test_W4_W1_order_holds_and_nothing_is_lost_across_moves_and_crashes(
    moves: list[tuple[str, str]], limit: int
) -> None:
    planned, landed = _live(moves, limit)
    for key, sessions in planned.items():
        took_effect = list(dict.fromkeys(session for k, session in landed if k == key))
        assert took_effect == sessions, "each session's first landing is in order, and none is missing"


@settings(max_examples=600)
@given(st.lists(st.tuples(st.sampled_from([*KINDS, "compact"]), st.sampled_from("ab")), max_size=60), LIMITS)
@example([*PLANS_OF_TWO, ("back", "a"), ("replay", "a"), ("compact", "a"), ("read all", "a"), ("back", "a")], 0)
def test_W4_W1_it_comes_to_an_end_with_nothing_lost_whatever_compaction_takes(
    moves: list[tuple[str, str]], limit: int
) -> None:
    planned, landed = _live(moves, limit)
    assert {session for _, session in landed} == {session for sessions in planned.values() for session in sessions}


@settings(max_examples=2000)
@given(
    st.lists(st.tuples(st.sampled_from(["plan", "read", "read all", "back", "land", "crash", "compact"]), LANES)),
    LIMITS,
)
@example([*PLANS_OF_TWO, ("back", "a"), *OF_A[:2], ("compact", "a"), ("crash", "a"), *OF_A], METADATA_LIMIT)
@example([*PLANS_OF_TWO, ("plan", "a"), ("back", "a"), ("compact", "a"), ("crash", "a"), ("crash", "a"), *OF_A], 0)
@example([*OF_A[:1] * 2, *READ_AND_BACK, ("crash", "a"), *OF_A[2:3], ("crash", "a"), ("compact", "a")], METADATA_LIMIT)
def test_W4_order_holds_when_a_crash_comes_before_copies_are_read_whose_originals_compaction_took(
    moves: list[tuple[str, str]], limit: int
) -> None:
    planned, landed = _live(moves, limit)
    for key, sessions in planned.items():
        assert list(dict.fromkeys(session for k, session in landed if k == key)) == sessions


def _finish(run: Run) -> None:
    going = True
    while going:
        assert len(run.topic.records) < 10_000, "plans go to the back of the topic without end"
        going = run.read()
        for key in "abc":
            going = bool(run.lanes[key]) or going
            run.land(key)
