"""W4 Plans of a lane were requeued, by a writer or an operator, and compaction took the originals before their copies
were settled. The next writer meets later plans of the lane first, and lands them behind the earlier ones all the same.
"""

from __future__ import annotations

from typing import Any

from schemas.records import PlannedWriteback
from tests.unit.writer.core.engine_kit import NEVER_SENT, a_lane, answers, is_about, landed, lands
from tests.unit.writer.workbench import World
from writer.core import messages
from writer.core.assignment import OffsetAndMetadata
from writer.core.history import Settled
from writer.core.publishing import CopyOf
from writer.core.retry import RetryLimits

END = 30
"""Behind the copies of the first two sessions, at 20 and 21; the third session lies at 15."""


def a_successor(**options: Any) -> World:
    world = World(**options)
    world.next_offset = END
    world.assign(0, committed=OffsetAndMetadata(10, "wb2:10:"), end=None)
    return world


def hears_the_end(world: World, *, end: int = END) -> None:
    world.tell(messages.EndOffsets({0: end}, world.now.utc.timestamp()))


def reads_copies(world: World, *plans: PlannedWriteback, offset: int, count: int = 1) -> None:
    world.arrive(*plans, offset=offset, headers=[("requeue-count", str(count).encode())])
    world.wait(1)


def copies(world: World) -> list[PlannedWriteback]:
    return [one.plan.plan for one in world.published if isinstance(one, CopyOf)]


def test_W4_a_plan_that_comes_before_requeued_earlier_ones_goes_behind_them() -> None:
    world = a_successor()
    hears_the_end(world)
    first, second, third, fourth = a_lane(world, 1, 2, 3, 4)
    world.arrive(third, fourth, offset=15)
    world.wait(1)
    assert landed(world) == []
    assert copies(world) == [third, fourth]

    reads_copies(world, first, second, offset=20)
    reads_copies(world, third, fourth, offset=END)

    assert landed(world) == ["sess-1", "sess-2", "sess-3", "sess-4"]
    assert len(copies(world)) == 2, "each went behind once"
    assert world.frontier() == END + 2


def test_W4_when_the_earlier_plans_fail_once_more_those_behind_them_still_wait() -> None:
    world = a_successor(retry=RetryLimits(back_of_topic=5.0))
    hears_the_end(world)
    first, second = a_lane(world, 1, 2)
    world.arrive(second, offset=15)
    world.wait(1)
    world.instead = answers(NEVER_SENT, "sess-1", "sess-2")
    reads_copies(world, first, offset=20)
    world.wait(5)
    world.arrive(*a_lane(world, 99), offset=22)  # lands, so that it is no outage
    world.wait(5)
    assert copies(world) == [second, first]

    world.instead = lands
    reads_copies(world, second, offset=END)
    assert landed(world) == ["sess-99"], "the first is on its way again"
    reads_copies(world, first, offset=END + 1, count=2)
    reads_copies(world, second, offset=END + 2, count=2)

    assert landed(world) == ["sess-99", "sess-1", "sess-2"]


def test_W4_a_plan_without_earlier_ones_or_whose_earlier_ones_have_settled_does_not_wait() -> None:
    world = a_successor()
    hears_the_end(world)
    world.index.known["sess-1"] = Settled.NOT_WRITTEN
    _, second = a_lane(world, 1, 2)
    [alone] = a_lane(world, 7)
    world.arrive(second, alone, offset=15)
    world.wait(1)
    assert sorted(landed(world)) == ["sess-2", "sess-7"]
    assert copies(world) == []


def test_W4_a_plan_behind_all_that_an_earlier_writer_appended_does_not_wait() -> None:
    """Nor does one whose earlier session was never planned, or was retired, wait more than once."""
    world = a_successor()
    hears_the_end(world)
    _, second = a_lane(world, 1, 2)
    world.arrive(second, offset=END)
    world.wait(1)
    assert landed(world) == ["sess-2"]
    assert copies(world) == []


def test_W4_what_is_appended_later_has_nothing_before_it_that_could_come_behind_it() -> None:
    """Where the log ends is asked each second. Only the first answer is about what an earlier writer appended."""
    world = a_successor()
    hears_the_end(world)
    hears_the_end(world, end=END + 10)
    _, second = a_lane(world, 1, 2)
    world.arrive(second, offset=END)
    world.wait(1)
    assert (landed(world), copies(world)) == (["sess-2"], [])


def test_W4_nothing_is_begun_before_it_is_known_up_to_where_copies_may_lie() -> None:
    world = a_successor()
    _, second = a_lane(world, 1, 2)
    [alone] = a_lane(world, 7)
    world.arrive(alone, second, offset=15)
    world.wait(1)
    assert world.decoded == []

    hears_the_end(world)
    world.wait(1)
    assert (landed(world), copies(world)) == (["sess-7"], [second])


def test_W4_whether_a_plan_comes_too_early_is_known_when_the_results_were_read() -> None:
    world = a_successor()
    hears_the_end(world)
    world.index.read = False
    _, second = a_lane(world, 1, 2)
    [alone] = a_lane(world, 7)
    world.arrive(second, alone, offset=15)
    world.wait(1)
    assert (landed(world), copies(world)) == (["sess-7"], [])
    assert not [request for request in world.requests if is_about(request, "sess-2")]
    world.index.read = True
    world.tell(messages.ResultsRead(0, 1))
    assert copies(world) == [second]


def test_W4_a_lane_that_is_requeued_leaves_room_for_sessions_that_were_not_read_yet() -> None:
    """The copy of the second session lies behind the third's original; the first fails before it comes."""
    world = a_successor(retry=RetryLimits(back_of_topic=5.0))
    hears_the_end(world)
    first, second, third = a_lane(world, 1, 2, 3)
    world.instead = answers(NEVER_SENT, "sess-1")
    world.arrive(first, offset=10)
    world.arrive(third, offset=15)
    world.wait(5)
    world.arrive(*a_lane(world, 99), offset=16)
    world.wait(5)
    assert copies(world) == [first, third]
    world.instead = lands
    reads_copies(world, second, offset=20)
    assert copies(world) == [first, third, second]
    reads_copies(world, first, offset=END)
    reads_copies(world, third, offset=END + 1)
    assert copies(world) == [first, third, second, third], "it waits for the second"
    reads_copies(world, second, offset=END + 2, count=2)
    reads_copies(world, third, offset=END + 3, count=2)
    assert landed(world) == ["sess-99", "sess-1", "sess-2", "sess-3"]


def test_W8_a_dry_run_requeues_nothing_for_the_sake_of_order() -> None:
    world = a_successor(write=False)
    hears_the_end(world)
    _, second = a_lane(world, 1, 2)
    world.arrive(second, offset=15)
    world.wait(1)
    assert copies(world) == []
    assert world.outcomes == [("sess-2", "dry_run")]
