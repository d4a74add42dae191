"""The ledger against a plain model, and its memory across crashes."""

from __future__ import annotations

import base64
import random
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writer.core.ledger import METADATA_LIMIT, Commit, Ledger, decode_settled, encode_settled

gaps = st.lists(st.integers(1, 5), min_size=1, max_size=40)


def offsets(start: int, steps: list[int]) -> list[int]:
    found = []
    for step in steps:
        start += step
        found.append(start)
    return found


@given(gaps, st.lists(st.integers(0, 99), max_size=120))
def test_W1_the_frontier_never_passes_an_unsettled_offset(steps: list[int], moves: list[int]) -> None:
    todo = offsets(100, steps)
    ledger, unsettled, beyond = Ledger(), list[int](), set[int]()
    epoch, seen = ledger.assign(0, 101), 101
    for move in moves:
        if move % 2 and todo:
            unsettled.append(offset := todo.pop(0))
            seen = offset + 1
            assert ledger.arrived(0, offset)
        elif unsettled:
            beyond.add(offset := unsettled.pop(move % len(unsettled)))
            assert ledger.settle(0, offset, epoch)
        expected = min(unsettled, default=seen)
        assert ledger.frontier(0) == expected
        assert ledger.unsettled(0) == len(unsettled)
        assert ledger.gap(0) == len([offset for offset in beyond if offset > expected])


@given(gaps, st.data())
def test_W1_after_a_crash_exactly_what_was_not_settled_is_worked_on(steps: list[int], data: st.DataObject) -> None:
    there = offsets(100, steps)
    before, after = Ledger(), Ledger()
    epoch = before.assign(3, 101)
    settled = set(data.draw(st.lists(st.sampled_from(there), unique=True)))
    for offset in there:
        before.arrived(3, offset)
    for offset in settled:
        before.settle(3, offset, epoch)
    for commit in before.commits():
        before.committed(commit)
    frontier = before.frontier(3)
    assert frontier is not None

    after.assign(3, frontier, encode_settled(frontier, [o for o in settled if o > frontier]))
    again = [offset for offset in there if offset >= frontier and after.arrived(3, offset)]

    assert again == [offset for offset in there if offset not in settled and offset >= frontier]
    assert after.frontier(3) == (again[0] if again else there[-1] + 1)


def test_W1_what_is_remembered_is_remembered_until_it_was_read() -> None:
    ledger = Ledger()
    ledger.assign(0, 10, encode_settled(10, [12, 15]))

    assert ledger.commits() == []
    assert ledger.arrived(0, 10)
    assert not ledger.arrived(0, 12)
    (commit,) = [*ledger.commits(), None][:1]
    assert commit is None, "frontier and settled offsets are those that were committed"
    assert ledger.arrived(0, 16), "15 was cleaned away"
    assert decode_settled(ledger.commits()[0].metadata, 10) == {12}


def test_W1_late_news_of_an_earlier_assignment_changes_nothing() -> None:
    ledger = Ledger()
    old = ledger.assign(0, 5)
    ledger.arrived(0, 5)
    new = ledger.assign(0, 5)
    ledger.arrived(0, 5)

    assert not ledger.settle(0, 5, old)
    assert ledger.frontier(0) == 5
    assert ledger.settle(0, 5, new)
    assert ledger.frontier(0) == 6
    ledger.revoke(0)
    ledger.revoke(0)
    assert not ledger.settle(0, 5, new)
    assert ledger.epoch(0) is None


def test_W2_a_log_that_was_begun_anew_is_worked_on_from_its_first_record() -> None:
    ledger = Ledger()
    epoch = ledger.assign(0, 500, encode_settled(500, [502]))

    assert ledger.arrived(0, 3)
    assert ledger.frontier(0) == 3
    assert not ledger.arrived(0, 3), "seen already"
    assert ledger.arrived(0, 4)
    assert ledger.settle(0, 3, epoch)
    assert ledger.commits() == [Commit(0, 4, "")]
    assert ledger.arrived(0, 502), "what was remembered was of the old log"


def test_W1_news_of_offsets_that_never_arrived_changes_nothing() -> None:
    ledger = Ledger()
    epoch = ledger.assign(0)
    assert ledger.settle(0, 5, epoch)
    ledger.arrived(0, 5)
    ledger.settle(0, 6, epoch)
    ledger.settle(0, 4, epoch)

    assert ledger.frontier(0) == 5
    assert ledger.gap(0) == 0


def test_a_partition_without_a_committed_offset_starts_with_the_first_record() -> None:
    ledger = Ledger()
    epoch = ledger.assign(7)

    assert ledger.frontier(7) is None
    assert ledger.commits() == []
    assert ledger.arrived(7, 42)
    assert not ledger.arrived(7, 42)
    assert ledger.epoch(7) == epoch
    assert ledger.commits() == [Commit(7, 42, "")]


def test_only_news_is_committed() -> None:
    ledger = Ledger()
    epoch = ledger.assign(0, 10)
    ledger.arrived(0, 10)
    ledger.arrived(0, 11)
    assert ledger.commits() == []
    ledger.settle(0, 11, epoch)

    (commit,) = ledger.commits()
    ledger.committed(commit)

    assert (commit.offset, decode_settled(commit.metadata, 10)) == (10, {11})
    assert ledger.commits() == []
    ledger.revoke(0)
    ledger.committed(commit)
    assert ledger.commits() == []


def test_settling_from_the_bitmap_moves_the_frontier_over_it() -> None:
    ledger = Ledger()
    epoch = ledger.assign(0, 10, encode_settled(10, [11, 12]))
    assert [ledger.arrived(0, offset) for offset in (10, 11, 12)] == [True, False, False]

    ledger.settle(0, 10, epoch)

    assert ledger.frontier(0) == ledger.position(0) == 13


@given(st.integers(0, 1 << 40), st.sets(st.integers(0, 20_000), max_size=300))
def test_the_metadata_fits_and_reads_back(frontier: int, beyond: set[int]) -> None:
    settled = {frontier + far for far in beyond}
    text = encode_settled(frontier, settled)

    assert len(text.encode()) <= METADATA_LIMIT
    assert decode_settled(text, frontier) == settled


def test_metadata_that_would_be_too_long_keeps_what_is_nearest() -> None:
    rolled = random.Random(1)
    settled = {offset for offset in range(1, 200_000) if rolled.random() < 0.5}
    text = encode_settled(0, settled)

    assert len(text) <= METADATA_LIMIT
    kept = decode_settled(text, 0)
    assert len(kept) > 6_000
    farthest = max(kept)
    assert kept == {offset for offset in settled if offset <= farthest}


def test_an_offset_absurdly_far_away_is_left_out() -> None:
    assert encode_settled(0, [1 << 30]) == ""


@pytest.mark.parametrize(
    "text",
    [None, "", "somebody else's", "wb2:10:abc",
     "wb1:11:abc", "wb1:10:", "wb1:10:not base85 \u00e4", "wb1:10:abcde", encode_settled(10, [11]) + "00000",
     encode_settled(10, [11])[:-3], "wb1:10:" + base64.b85encode(zlib.compress(b"\x02")[:5]).decode()],
)  # fmt: skip
def test_unreadable_metadata_is_ignored(text: str | None) -> None:
    assert decode_settled(text, 10) == set()


@given(st.text(max_size=80))
def test_no_metadata_makes_the_ledger_fail(text: str) -> None:
    decode_settled(text, 10)
    decode_settled("wb1:10:" + text, 10)


def test_a_bomb_in_the_metadata_is_not_unpacked() -> None:
    bomb = base64.b85encode(zlib.compress(b"\x80" + bytes(1 << 24), 9)).decode()

    assert decode_settled(f"wb1:0:{bomb}", 0) == set()


def test_B3_a_hundred_thousand_in_flight_settle_in_any_order_within_a_second() -> None:
    ledger = Ledger()
    epoch = ledger.assign(0, 0)
    there = list(range(100_000))
    shuffled = random.Random(1).sample(there, len(there))
    started = time.process_time()
    for offset in there:
        ledger.arrived(0, offset)
    for offset in shuffled:
        ledger.settle(0, offset, epoch)

    assert ledger.frontier(0) == 100_000
    assert (ledger.unsettled(0), ledger.gap(0)) == (0, 0)
    assert time.process_time() - started < 5
