"""A number of partitions that was raised after the first plans were written."""

from hypothesis import given
from hypothesis import strategies as st

from planner.core.placed import raised_from
from schemas.placement import partition_of
from tests.factories import an_id


def placed(count: int, partitions: int, start: int = 0) -> set[tuple[str, int]]:
    items = [an_id(f"item {number}") for number in range(start, start + count)]
    return {(item, partition_of(item.encode(), partitions)) for item in items}


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 60))
def test_plans_that_were_placed_by_fewer_partitions_are_seen_and_by_how_many(before, more, since):
    found = placed(60, before) | {(item, at) for item, at in placed(since, before + more, 60) if at >= before}
    assert raised_from(found, before + more) == before


@given(st.integers(1, 24), st.integers(0, 60))
def test_plans_that_stand_where_they_belong_are_no_reason(partitions, count):
    assert raised_from(placed(count, partitions), partitions) is None


def test_a_few_strangers_are_no_reason():
    assert raised_from(placed(100, 6) | {(an_id("x"), 0), (an_id("y"), 1)}, 6) is None


def test_a_producer_that_places_by_another_hash_has_raised_nothing():
    found = {(an_id(f"item {number}"), number * 7 % 6) for number in range(60)}
    assert raised_from(found, 6) is None
