"""W4 and W1 across appending again: the order of a lane, and where a crash starts again."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from writer.core.ledger import METADATA_LIMIT, Ledger
from writer.core.requeue import Moving


def test_W4_those_behind_a_plan_of_which_there_is_no_copy_do_not_wait_for_one() -> None:
    moving = Moving()
    moving.append_again("lane", 0, 5, "first", 1)
    moving.append_again("lane", 0, 6, "second", 1)
    moving.stays("lane", "first")
    moving.stays("a lane that was dropped", "first")
    moving.appended("lane", 20)
    assert not moving.must_follow("lane", "second", 1)
    assert moving.arrived(0, 21) == [[5, 6]]


def test_W4_a_plan_read_from_between_goes_behind_the_others() -> None:
    moving = Moving()
    moving.append_again("item", 0, 10, "s1", 1)
    moving.append_again("item", 0, 11, "s2", 1)

    assert moving.must_follow("item", "s3", 0)
    assert not moving.must_follow("another item", "s9", 0)
    assert not moving.must_follow("item", "s1", 1), "the copy itself"
    assert moving.must_follow("item", "s3", 0), "s2's copy was not read yet"
    assert not moving.must_follow("item", "s2", 1)
    assert not moving.must_follow("item", "s3", 0)


def test_W4_a_later_plans_copy_does_not_overtake_an_earlier_plan_that_failed_once_more() -> None:
    moving = Moving()
    moving.append_again("item", 0, 10, "s1", 1)
    moving.append_again("item", 0, 11, "s2", 1)
    assert not moving.must_follow("item", "s1", 1)
    moving.append_again("item", 0, 20, "s1", 2)

    assert moving.must_follow("item", "s2", 1), "s1 is on its way again, ahead of it"
    moving.append_again("item", 0, 21, "s2", 2)
    assert not moving.must_follow("item", "s1", 2)
    assert not moving.must_follow("item", "s2", 2)


def test_W1_the_originals_are_settled_when_the_last_copy_was_read_all_at_once() -> None:
    moving = Moving()
    moving.append_again("item", 0, 10, "s1", 1)
    moving.append_again("item", 0, 11, "s2", 1)
    moving.appended("item", 20)
    assert moving.arrived(0, 30) == [], "the second copy is not acknowledged"
    moving.appended("item", 22)

    assert moving.arrived(0, 22) == []
    assert moving.arrived(1, 30) == []
    assert moving.on_their_way() == 1
    assert moving.arrived(0, 23) == [[10, 11]]
    assert moving.arrived(0, 24) == []
    assert moving.on_their_way() == 0


def test_W1_a_revoked_partition_forgets_what_was_on_its_way() -> None:
    moving = Moving()
    moving.append_again("item", 0, 10, "s1", 1)
    moving.append_again("other", 1, 12, "s9", 1)
    moving.drop(0)
    moving.appended("item", 20)

    assert moving.arrived(0, 30) == []
    assert not moving.must_follow("item", "s3", 0)
    assert moving.must_follow("other", "s3", 0)


@dataclass
class Topic:
    """One partition: session and replay count per offset; the planner appends between the writer's copies."""

    records: list[tuple[str, str, int]] = field(default_factory=list)

    def append(self, key: str, session: str, count: int) -> int:
        self.records.append((key, session, count))
        return len(self.records) - 1


@dataclass
class Run:
    """One writer's life: reads, moves lanes to the back for some, lands others in the order of their lane."""

    topic: Topic
    ledger: Ledger
    moving: Moving
    epoch: int
    lanes: defaultdict[str, list[tuple[int, str, int]]] = field(default_factory=lambda: defaultdict(list))

    def read(self) -> bool:
        offset = self.ledger.position(0)
        if offset >= len(self.topic.records):
            return False
        key, session, count = self.topic.records[offset]
        if self.ledger.arrived(0, offset):
            if self.moving.must_follow(key, session, count):
                self.append([(offset, session, count)], key)
            else:
                self.lanes[key].append((offset, session, count))
        for lane in self.moving.arrived(0, self.ledger.position(0)):
            self.ledger.settle_together(0, lane, self.epoch)
        return True

    def read_all(self) -> None:
        while self.read():
            continue

    def append(self, plans: list[tuple[int, str, int]], key: str) -> None:
        for offset, session, count in plans:
            self.moving.append_again(key, 0, offset, session, count + 1)
        for _, session, count in plans:
            self.moving.appended(key, self.topic.append(key, session, count + 1))

    def to_the_back(self, key: str) -> None:
        plans, self.lanes[key] = self.lanes[key], []
        self.append(plans, key)

    def land(self, key: str, landed: list[tuple[str, str]]) -> None:
        if self.lanes[key]:
            offset, session, _ = self.lanes[key].pop(0)
            landed.append((key, session))
            self.ledger.settle(0, offset, self.epoch)


def _start(topic: Topic, offset: int, metadata: str, limit: int = METADATA_LIMIT) -> Run:
    ledger = Ledger(metadata_limit=limit)
    return Run(topic, ledger, Moving(), ledger.assign(0, offset, metadata))


MOVES = st.lists(
    st.tuples(st.sampled_from(["plan", "plan", "read", "read all", "back", "land", "crash"]), st.sampled_from("abc")),
    max_size=80,
)


LIMITS = st.one_of(st.just(METADATA_LIMIT), st.integers(0, 40))
"""Bytes of commit metadata: from 16 on there is room for what is nearest."""


PLANS_OF_TWO = [("plan", "a"), ("plan", "b"), ("plan", "a"), ("read all", "a")]


@settings(max_examples=600)
@given(MOVES, LIMITS)
@example([*PLANS_OF_TWO, ("back", "a"), ("read all", "a"), ("crash", "a")], 0)
def test_W4_W1_order_holds_and_nothing_is_lost_across_moves_and_crashes(
    moves: list[tuple[str, str]], limit: int
) -> None:
    topic, landed = Topic(), list[tuple[str, str]]()
    run, committed = _start(topic, 0, "", limit), (0, "")
    planned: defaultdict[str, list[str]] = defaultdict(list)
    for number, (move, key) in enumerate(moves):
        match move:
            case "plan":
                planned[key].append(f"s{number}")
                topic.append(key, f"s{number}", 0)
            case "read":
                run.read()
            case "read all":
                run.read_all()
            case "back":
                run.to_the_back(key)
            case "land":
                run.land(key, landed)
            case "crash":
                run = _start(topic, *committed, limit)
        committed = next(((commit.offset, commit.metadata) for commit in run.ledger.commits()), committed)
    _finish(run, landed)

    for key, sessions in planned.items():
        took_effect = list(dict.fromkeys(session for k, session in landed if k == key))
        assert took_effect == sessions, "each session's first landing is in order, and none is missing"


def _finish(run: Run, landed: list[tuple[str, str]]) -> None:
    going = True
    while going:
        going = run.read()
        for key in "abc":
            going = bool(run.lanes[key]) or going
            run.land(key, landed)
