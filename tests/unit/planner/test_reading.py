import asyncio

from faust.types import TP
from mode.utils.queues import ThrowableQueue

from planner.stream.reading import NonDroppingFlow, Reading

PLACE = TP("call-outcomes", 0)


ONE, TWO = object(), object()


def fetch(reading: Reading, *offsets: int, assignment: object = ONE, dropped: bool = False) -> list[int]:
    """The offsets that the agent gets of a batch; none if Faust drops it."""
    reading.fetched(assignment, {PLACE: offsets})
    found = []
    for each in () if dropped else offsets:
        if reading.is_next(PLACE, each):
            reading.handed_over(PLACE, each)
            found.append(each)
    return found


def test_P5_records_that_wait_are_still_there_when_flow_goes_on_and_gone_when_partitions_go():
    async def scenario():
        flow = NonDroppingFlow()
        queue = ThrowableQueue(flow_control=flow, clear_on_resume=True)
        queue.force_put_nowait("an outcome")
        flow.resume()
        assert (flow.is_active(), queue.qsize()) == (True, 1)
        flow.suspend()
        flow.clear()
        assert (flow.is_active(), queue.qsize()) == (False, 0)

    asyncio.run(scenario())


def test_P5_records_are_handed_over_once_and_in_order():
    reading = Reading()
    assert fetch(reading, 84, 85) == [84, 85]
    assert fetch(reading, 86) == [86]
    assert (reading.left_out(), reading.first[PLACE]) == ({}, 84)


def test_P5_what_was_dropped_is_read_again_and_nothing_behind_it_before():
    reading = Reading()
    fetch(reading, 84, 85)
    fetch(reading, 86, 87, dropped=True)
    assert fetch(reading, 88) == []
    assert reading.left_out() == {PLACE: 86}
    assert reading.left_out() == {}
    assert fetch(reading, 86, 87, 88, 89) == [86, 87, 88, 89]


def test_P5_a_first_batch_that_was_dropped_is_read_again():
    reading = Reading()
    assert fetch(reading, 84, 85, dropped=True) == []
    assert reading.left_out() == {PLACE: 84}


def test_P5_going_back_to_what_is_committed_hands_over_nothing_twice():
    reading = Reading()
    fetch(reading, 84, 85, 86)
    assert fetch(reading, 85, 86, 87) == [87]


def test_P5_a_gap_of_the_topic_is_told_once_the_record_behind_it_was_handed_over():
    reading = Reading()
    reading.fetched(ONE, {PLACE: [10, 12]})
    assert reading.handed_over(PLACE, 10) is None
    assert reading.is_next(PLACE, 12)
    assert reading.handed_over(PLACE, 12) == (11, 11)
    reading.fetched(ONE, {PLACE: [20]})
    assert reading.is_next(PLACE, 20)
    assert reading.handed_over(PLACE, 20) == (13, 19)


def test_P5_a_jump_over_what_was_dropped_is_no_gap():
    reading = Reading()
    fetch(reading, 10)
    fetch(reading, 11, 12, dropped=True)
    reading.fetched(ONE, {PLACE: [13]})
    assert not reading.is_next(PLACE, 13)


def test_P5_records_that_are_gone_when_they_are_read_again_hold_nothing_up():
    reading = Reading()
    fetch(reading, 10)
    fetch(reading, 11, 12, dropped=True)
    assert reading.left_out() == {PLACE: 11}
    assert fetch(reading, 30) == [30]


def test_P5_another_assignment_begins_anew_where_the_group_has_committed():
    reading = Reading()
    fetch(reading, 84, 85, 86)
    assert fetch(reading, 85, 86, assignment=TWO) == [85, 86]
    assert reading.first[PLACE] == 85


def test_P5_a_jump_is_told_with_where_reading_would_have_gone_on():
    reading = Reading()
    reading.fetched(ONE, {PLACE: [90, 91, 95]})
    assert reading.jumps({PLACE: 84}) == [(PLACE, 92, 95), (PLACE, 84, 90)]
    reading.fetched(ONE, {PLACE: [96, 99], TP("call-outcomes", 1): []})
    assert reading.jumps({PLACE: 84}) == [(PLACE, 97, 99)]
    reading.fetched(TWO, {PLACE: [84]})
    assert reading.jumps({PLACE: 84}) == []
    assert reading.jumps({PLACE: None}) == []
