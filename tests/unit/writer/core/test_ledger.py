"""The ledger against a plain model, and its memory across crashes."""

from __future__ import annotations

import base64
import random
import time
import tracemalloc
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writer.core.ledger import (
    METADATA_LIMIT,
    Commit,
    Ledger,
    Range,
    decode_settled,
    encode_settled,
    is_complete,
    marked,
    unmarked,
)


def ranges(settled: Iterable[int]) -> list[Range]:
    """Offsets as the ranges they fill."""
    found: list[Range] = []
    for offset in sorted(settled):
        if found and found[-1][1] == offset:
            found[-1] = (found[-1][0], offset + 1)
        else:
            found.append((offset, offset + 1))
    return found


def remembered(text: str | None, committed: int) -> set[int]:
    return {offset for start, end in decode_settled(text, committed) for offset in range(start, end)}


def note(ledger: Ledger) -> str:
    commit = ledger.commit()
    assert commit is not None
    return commit.metadata


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
    ledger, unsettled, beyond = Ledger(0, 101), list[int](), set[int]()
    seen = 101
    for move in moves:
        if move % 2 and todo:
            unsettled.append(offset := todo.pop(0))
            seen = offset + 1
            assert ledger.arrived(offset)
        elif unsettled:
            beyond.add(offset := unsettled.pop(move % len(unsettled)))
            ledger.settle(offset)
        expected = min(unsettled, default=seen)
        assert ledger.frontier == expected
        assert ledger.unsettled == len(unsettled)
        assert ledger.gap == len([offset for offset in beyond if offset > expected])


@given(gaps, st.data())
def test_W1_after_a_crash_exactly_what_was_not_settled_is_worked_on(steps: list[int], data: st.DataObject) -> None:
    there = offsets(100, steps)
    before = Ledger(3, 101)
    settled = set(data.draw(st.lists(st.sampled_from(there), unique=True)))
    for offset in there:
        before.arrived(offset)
    for offset in settled:
        before.settle(offset)
    if (commit := before.commit()) is not None:
        before.committed(commit)
    frontier = before.frontier
    assert frontier is not None

    after = Ledger(3, frontier, encode_settled(frontier, ranges(o for o in settled if o > frontier)))
    again = [offset for offset in there if offset >= frontier and after.arrived(offset)]

    assert again == [offset for offset in there if offset not in settled and offset >= frontier]
    assert after.frontier == (again[0] if again else there[-1] + 1)


def test_W1_what_is_remembered_is_remembered_until_it_was_read() -> None:
    ledger = Ledger(0, 10, encode_settled(10, ranges([12, 15])))

    assert ledger.commit() is None
    assert [ledger.remembers(offset) for offset in (10, 11, 12)] == [False, False, True]
    assert ledger.arrived(10)
    assert not ledger.arrived(12)
    assert ledger.commit() is None, "frontier and settled offsets are those that were committed"
    assert ledger.arrived(13)
    ledger.settle(13)
    assert remembered(note(ledger), 10) == {11, 12, 13, 15}, "there is no 11: it is as good as settled"
    assert ledger.arrived(16), "15 was cleaned away"
    assert not ledger.arrived(15), "behind us"


def test_W2_a_log_that_was_begun_anew_is_worked_on_from_its_first_record() -> None:
    ledger = Ledger(0, 500, encode_settled(500, ranges([502])))

    assert ledger.arrived(3)
    assert ledger.frontier == 3
    assert not ledger.arrived(3), "seen already"
    assert ledger.arrived(4)
    ledger.settle(3)
    assert ledger.commit() == Commit(0, 4, "wb2:4:")
    assert ledger.arrived(502), "what was remembered was of the old log"


def test_W1_news_of_offsets_that_never_arrived_changes_nothing() -> None:
    ledger = Ledger(0)
    ledger.settle(5)
    ledger.arrived(5)
    ledger.settle(6)
    ledger.settle(4)

    assert ledger.frontier == 5
    assert ledger.gap == 0


def test_a_partition_without_a_committed_offset_starts_with_the_first_record() -> None:
    ledger = Ledger(7)

    assert ledger.frontier is None
    assert ledger.commit() is None
    assert ledger.arrived(42)
    assert not ledger.arrived(42)
    assert ledger.commit() == Commit(7, 42, "wb2:42:")


def test_only_news_is_committed() -> None:
    ledger = Ledger(0, 10)
    ledger.arrived(10)
    ledger.arrived(11)
    assert ledger.commit() is None
    ledger.settle(11)

    commit = ledger.commit()
    assert commit is not None
    ledger.committed(commit)

    assert (commit.offset, remembered(commit.metadata, 10)) == (10, {11})
    assert ledger.commit() is None


def test_settling_from_the_bitmap_moves_the_frontier_over_it() -> None:
    ledger = Ledger(0, 10, encode_settled(10, ranges([11, 12])))
    assert [ledger.arrived(offset) for offset in (10, 11, 12)] == [True, False, False]

    ledger.settle(10)

    assert ledger.frontier == ledger.position == 13


@given(st.integers(0, 1 << 40), st.sets(st.integers(0, 20_000), max_size=300))
def test_the_metadata_fits_and_reads_back(frontier: int, beyond: set[int]) -> None:
    settled = {frontier + far for far in beyond}
    text = encode_settled(frontier, ranges(settled))

    assert len(text.encode()) <= METADATA_LIMIT
    assert remembered(text, frontier) == settled


def test_metadata_that_would_be_too_long_keeps_what_is_nearest() -> None:
    rolled = random.Random(1)
    settled = {offset for offset in range(1, 200_000) if rolled.random() < 0.5}
    text = encode_settled(0, ranges(settled))

    assert len(text) <= METADATA_LIMIT
    kept = remembered(text, 0)
    assert len(kept) > 6_000
    farthest = max(kept)
    assert kept == {offset for offset in settled if offset <= farthest}


def test_an_offset_however_far_away_fits() -> None:
    assert remembered(encode_settled(0, [(1 << 60, (1 << 60) + 2)]), 0) == {1 << 60, (1 << 60) + 1}


@pytest.mark.parametrize(
    "text",
    [None, "", "somebody else's", "wb1:10:abc",
     "wb2:11:abc", "wb2:10:", "wb2:10:not base85 \u00e4", "wb2:10:abcde", encode_settled(10, [(11, 12)]) + "00000",
     encode_settled(10, [(11, 12)])[:-3], "wb2:10:" + base64.b85encode(zlib.compress(b"\x02")[:5]).decode()],
)  # fmt: skip
def test_unreadable_metadata_is_ignored(text: str | None) -> None:
    assert decode_settled(text, 10) == []


@given(st.text(max_size=80))
def test_no_metadata_makes_the_ledger_fail(text: str) -> None:
    decode_settled(text, 10)
    decode_settled("wb2:10:" + text, 10)


@pytest.mark.parametrize("runs", [b"\x80" * (1 << 24), b"\x80" * 1000, b"\x01" * (1 << 24)])
def test_a_bomb_in_the_metadata_is_not_unpacked(runs: bytes) -> None:
    assert decode_settled("wb2:0:" + base64.b85encode(zlib.compress(runs, 9)).decode(), 0) == []


def cost_of(in_flight: int) -> float:
    """Processor seconds in which so many arrive and settle in any order."""
    ledger = Ledger(0, 0)
    there = list(range(in_flight))
    shuffled = random.Random(1).sample(there, len(there))
    started = time.process_time()
    for offset in there:
        ledger.arrived(offset)
    for offset in shuffled:
        ledger.settle(offset)
    cost = time.process_time() - started
    assert ledger.frontier == in_flight
    assert (ledger.unsettled, ledger.gap) == (0, 0)
    return cost


def test_B3_ten_times_as_many_in_flight_cost_about_ten_times_as_much_in_any_order() -> None:
    """Whatever the machine; with a search through all of them it would be a hundred times."""
    assert cost_of(100_000) < 40 * cost_of(10_000)


def test_B3_what_is_settled_behind_a_stuck_plan_costs_neither_memory_nor_time() -> None:
    ledger = Ledger(0, 0)
    ledger.arrived(0)
    tracemalloc.start()
    try:
        for offset in range(1, 50_001):
            ledger.arrived(offset)
            ledger.settle(offset)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (ledger.frontier, ledger.gap) == (0, 50_000)
    assert held < 50_000, "bytes; a byte for each would be more"
    assert remembered(note(ledger), 0) == set(range(1, 50_001))
    assert len(note(ledger)) < 60, "so it is not put together offset by offset"


def test_B3_what_is_to_be_committed_is_put_together_only_when_it_changed() -> None:
    ledger = Ledger(0, 0)
    for offset in range(3):
        ledger.arrived(offset)
    ledger.settle(1)
    first = ledger.commit()
    again = ledger.commit()

    assert again is first
    ledger.settle(2)
    assert ledger.commit() is not first


def test_the_time_of_the_oldest_unsettled_record_is_known() -> None:
    ledger = Ledger(0, 0)
    assert ledger.oldest is None
    for offset, at in enumerate((1_000, 900, 1_100, 950)):  # the second and the last are copies of requeued plans
        ledger.arrived(offset, at)

    assert ledger.oldest == 900
    ledger.settle(1)
    assert ledger.oldest == 950
    ledger.settle(0)
    assert ledger.oldest == 950
    ledger.settle_together([2, 3])
    assert ledger.oldest is None


def test_a_note_says_whether_it_holds_all_that_was_settled() -> None:
    assert is_complete(encode_settled(7, []), 7)
    assert is_complete(encode_settled(7, [(9, 10)]), 7)
    assert not is_complete(encode_settled(7, [(9, 10)]), 8), "the offset was moved"
    assert not is_complete("", 7)
    assert not is_complete(None, 7)
    cut = encode_settled(0, [(n * 1000, n * 1000 + n) for n in range(1, 900)], limit=100)
    assert not is_complete(cut, 0)
    assert decode_settled(cut, 0), "what is in it counts"
    assert not is_complete(encode_settled(0, [(5, 6)], limit=5), 0)


def test_a_note_carries_the_mark_of_its_transaction_and_means_the_same() -> None:
    for note in (encode_settled(10, [(11, 12)]), encode_settled(10, [])):
        of_one = marked(note, "c0ffee1")
        assert of_one.endswith("c0ffee1")
        assert unmarked(of_one) == unmarked(note) == note
        assert decode_settled(of_one, 10) == decode_settled(note, 10)
        assert is_complete(of_one, 10)
    assert marked("", "c0ffee1") == ""
    assert unmarked("somebody:else's:note:here") == "somebody:else's:note:here"


def test_W4_lanes_that_went_to_the_back_are_passed_when_nothing_else_lies_between() -> None:
    ledger = Ledger(0, 0)
    for offset in range(8):
        ledger.arrived(offset)
    ledger.settle_together([0, 3])
    ledger.settle_together([2, 5])
    ledger.settle(1)
    assert ledger.frontier == 0, "4 lies within the second lane, which lies across the first"
    assert remembered(note(ledger), 0) == {1}, "none of the lanes' plans"
    ledger.settle(6)
    assert ledger.frontier == 0

    ledger.settle(4)

    assert ledger.frontier == 7
    ledger.settle_together([7])
    assert ledger.frontier == 8
    assert (ledger.gap, ledger.unsettled) == (0, 0)


def test_W1_a_lane_at_the_back_is_passed_when_what_lay_between_has_gone_to_the_back_as_well() -> None:
    ledger = Ledger(0, 0)
    for offset in range(3):
        ledger.arrived(offset)
    ledger.settle_together([0, 2])
    assert ledger.frontier == 0

    ledger.settle_together([1])

    assert ledger.frontier == 3


def test_W1_a_commit_as_if_plans_were_settled_settles_nothing() -> None:
    ledger = Ledger(0, 10)
    for offset in (10, 11, 12):
        ledger.arrived(offset)
    commit = ledger.commit([10, 12])
    assert commit is not None

    assert (commit.offset, remembered(commit.metadata, 11)) == (11, {12})
    assert ledger.frontier == 10, "nothing is settled before it is acknowledged"
    assert ledger.commit(always=True) == Commit(0, 10, ""), "what was committed stands, without news"
    for offset in (10, 12):
        ledger.settle(offset)
    ledger.committed(commit)
    assert ledger.commit() is None
