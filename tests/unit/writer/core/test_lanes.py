"""W4 and W5 as properties, and the window that bounds what is held."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from writer.core.lanes import Lanes, Window, WindowLimits

arrivals = st.lists(st.sampled_from(["a", "b", "c"]), max_size=40)


@given(arrivals, st.lists(st.integers(0, 99), max_size=80))
def test_W4_W5_each_lane_works_on_one_plan_at_a_time_in_order_and_none_waits_for_another(
    keys: list[str], moves: list[int]
) -> None:
    lanes: Lanes[int] = Lanes()
    running: dict[str, int] = {}
    done: defaultdict[str, list[int]] = defaultdict(list)
    todo = list(enumerate(keys))
    while todo or running:
        move = moves.pop() if moves else 0
        if todo and (move % 2 or not running):
            number, key = todo.pop(0)
            starts = lanes.offer(key, number)
            assert starts == (key not in running), "a free lane starts at once, a busy one never"
            if starts:
                running[key] = number
        else:
            key = sorted(running)[move % len(running)]
            done[key].append(running.pop(key))
            if (following := lanes.finished(key)) is not None:
                running[key] = following
        assert lanes.running() == len(running)
    assert done == {k: [n for n, x in enumerate(keys) if x == k] for k in set(keys)}
    assert lanes.waiting() == 0


def test_W4_hundreds_of_queue_items_of_one_partition_are_at_work_at_once() -> None:
    lanes: Lanes[int] = Lanes()

    starts = [lanes.offer(f"item {number % 500}", number) for number in range(1500)]

    assert starts.count(True) == lanes.running() == 500
    assert lanes.waiting() == 1000


def test_W4_a_lane_can_be_emptied_behind_its_running_plan() -> None:
    lanes: Lanes[int] = Lanes()
    for number in range(3):
        lanes.offer("a", number)

    assert lanes.take_waiting("a") == [1, 2]
    assert lanes.finished("a") is None
    assert lanes.running() == 0


def test_W4_what_waits_behind_the_heads_is_dropped_together() -> None:
    lanes: Lanes[str] = Lanes()
    for plan in ("running", "waiting"):
        lanes.offer("a", plan)
    lanes.offer("b", "other")

    assert lanes.drop_waiting() == ["waiting"]
    assert list(lanes.heads()) == ["running", "other"]
    assert lanes.finished("a") is None


LIMITS = WindowLimits(plans=8, plans_per_partition=4, size=1000, resume_at=0.5)


def filled(window: Window, partition: int, plans: int, size: int = 1) -> None:
    for _ in range(plans):
        window.entered(partition, size)


def emptied(window: Window, partition: int, plans: int, size: int = 1) -> None:
    for _ in range(plans):
        window.left(partition, size)


def test_B3_a_full_partition_is_paused_alone_and_resumes_when_half_empty() -> None:
    window = Window(LIMITS)
    filled(window, 0, 4)

    assert window.paused([0, 1]) == {0}
    emptied(window, 0, 1)
    assert window.paused([0, 1]) == {0}
    emptied(window, 0, 1)
    assert window.paused([0, 1]) == frozenset()


def test_B3_a_full_process_pauses_everything() -> None:
    window = Window(LIMITS)
    for partition in range(4):
        filled(window, partition, 2)

    assert window.held() == 8
    assert window.paused(range(5)) == set(range(5))
    emptied(window, 0, 2)
    emptied(window, 1, 1)
    assert window.paused(range(5)) == set(range(5))
    emptied(window, 1, 1)
    emptied(window, 2, 1)
    assert window.paused(range(5)) == frozenset()


def test_B3_large_plans_fill_the_window_by_their_size() -> None:
    window = Window(LIMITS)
    window.entered(0, 1000)

    assert window.paused([0, 1]) == {0, 1}
    window.left(0, 1000)
    assert window.paused([0, 1]) == frozenset()


def test_a_revoked_partition_leaves_the_window() -> None:
    window = Window(LIMITS)
    filled(window, 0, 4)
    assert window.paused([0]) == {0}

    window.forget(0)
    window.left(0, 1)

    assert window.held() == 0
    assert window.paused([0]) == frozenset()
    assert window.paused([]) == frozenset()


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=200))
def test_B3_a_reader_that_obeys_never_holds_more_than_the_window(moves: list[tuple[int, bool]]) -> None:
    window = Window(LIMITS)
    held = [0, 0, 0, 0]
    for partition, arrives in moves:
        if arrives and partition not in window.paused(range(4)):
            window.entered(partition, 1)
            held[partition] += 1
        elif not arrives and held[partition]:
            window.left(partition, 1)
            held[partition] -= 1
        assert window.held() == sum(held) <= 8
        assert max(held) <= 4


def test_W4_the_plan_that_follows_the_running_one_is_the_next_of_its_lane_and_of_no_other() -> None:
    lanes: Lanes[int] = Lanes()
    lanes.offer("a", 1)
    assert lanes.following("a") is None
    lanes.offer("a", 2)
    lanes.offer("a", 3)
    assert lanes.following("a") == 2
    assert lanes.following("b") is None
