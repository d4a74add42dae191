"""What retention took away before it was read."""

from runtime.retention import Gap, taken


def test_P5_what_lies_between_progress_and_the_first_offset_that_there_is_was_never_read() -> None:
    assert taken({0: 5, 1: 7, 2: 0, 3: 9}, {0: 5, 1: 12, 2: 3, 3: 2}) == [Gap(1, 7, 11), Gap(2, 0, 2)]


def test_a_partition_without_progress_or_of_which_nothing_was_heard_has_no_gap() -> None:
    assert taken({}, {0: 100}) == []
    assert taken({4: 17}, {0: 100}) == []
