"""How long pins are kept of a partition that went to another planner."""

from planner.core.eviction import DeferredEviction


def test_P1_a_partition_that_went_is_evicted_after_two_batches_without_its_outcomes():
    eviction = DeferredEviction()
    eviction.assigned({1}, held=[0, 1])
    assert eviction.batch_done({1}) == []
    assert eviction.batch_done({0, 1}) == [], "the agent still held outcomes of it: the count begins anew"
    assert eviction.batch_done({1}) == []
    assert eviction.batch_done(set()) == [0]
    assert eviction.batch_done(set()) == []


def test_P1_a_second_rebalance_does_not_begin_the_count_anew_and_what_comes_back_stays():
    eviction = DeferredEviction()
    eviction.assigned(set(), held=[0, 1])
    eviction.batch_done(set())
    eviction.assigned({1}, held=[0, 1])
    assert eviction.batch_done(set()) == [0]
