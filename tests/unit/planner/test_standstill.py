"""When a planner that makes no progress is replaced, in seconds of any clock."""

from planner.core.standstill import Standstill


def test_a_planner_without_work_is_over_the_limit_after_it_and_not_before():
    standstill = Standstill(100.0, longest_s=10.0)
    assert not standstill.is_over_limit(110.0, records_read=0, has_work=False)
    assert standstill.is_over_limit(110.1, records_read=0, has_work=False)


def test_work_and_records_that_recovery_reads_are_progress():
    standstill = Standstill(0.0, longest_s=10.0)
    assert not standstill.is_over_limit(50.0, records_read=0, has_work=True)
    assert not standstill.is_over_limit(100.0, records_read=1, has_work=False)
    assert not standstill.is_over_limit(109.0, records_read=1, has_work=False)
    assert standstill.is_over_limit(111.0, records_read=1, has_work=False), "the same records again are no progress"
