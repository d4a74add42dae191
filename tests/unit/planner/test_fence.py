"""Which membership a batch may be published under."""

from planner.core.fence import Fence, Membership
from planner.kafka.fence import packed as packed_membership

ONE, TWO = Membership("g", 1, "m"), Membership("g", 2, "m")


def admitted(fence: Fence, *generations: int):
    return fence.admitted(generations, lambda generation: generation)


def test_before_it_is_a_member_nothing_is_admitted():
    assert admitted(Fence(), 1) is None


def test_P5_only_what_was_taken_in_the_present_generation_is_admitted():
    """What was taken before a rebalance and not committed is delivered again after it."""
    fence = Fence()
    fence.joined(TWO)
    assert admitted(fence, 1, 2, 2) == (TWO, [2, 2])
    assert admitted(fence, 1) is None


def test_P5_nothing_that_came_behind_an_abandoned_batch_is_admitted_before_the_next_rebalance():
    """Its progress would be committed past the batch."""
    fence = Fence()
    fence.joined(ONE)
    fence.abandon(1)
    assert admitted(fence, 1) is None
    assert fence.waits_for_rebalance
    fence.joined(TWO)
    assert admitted(fence, 2) == (TWO, [2])
    assert not fence.waits_for_rebalance


def test_P5_news_of_a_batch_of_an_earlier_generation_holds_up_nobody():
    fence = Fence()
    fence.joined(TWO)
    fence.abandon(1)
    assert admitted(fence, 2) == (TWO, [2])


def test_every_rebalance_counts_once_however_many_generations_others_have_seen():
    fence = Fence()
    assert fence.rebalances == 0
    fence.joined(Membership("g", 57, "m"))
    fence.joined(Membership("g", 60, "m"))
    assert fence.rebalances == 2


def test_a_membership_is_packed_as_confluent_kafkas_own_consumer_packs_it():
    packed = packed_membership(Membership("the group", 7, "a member", None))
    assert packed == b"CGMDv2:\x07\x00\x00\x00the group\x00a member\x00\x01"
    static = packed_membership(Membership("the group", 7, "a member", "planner-0"))
    assert static.startswith(packed[:-1])
    assert b"planner-0" in static
