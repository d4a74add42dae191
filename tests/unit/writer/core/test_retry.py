"""W6: trouble on the CRM's side is never an outcome."""

from __future__ import annotations

import itertools

from writer.core.retry import (
    SUSPECT_CEILING,
    AskAPerson,
    Requeue,
    ResumeNeeded,
    Retry,
    RetryLimits,
    RetryPolicy,
    Verdict,
)

LIMITS = RetryLimits(longest_pause=30.0, back_of_topic=30.0, longest_absence=900.0, outage_plans=5)


def failing(patience: RetryPolicy, session: str, times: int, *, now: float = 0.0) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for _ in range(times):
        verdict = patience.failed(session, now)
        verdicts.append(verdict)
        now = verdict.at if isinstance(verdict, Retry | ResumeNeeded) else now
    return verdicts


def test_W6_four_attempts_one_two_and_four_seconds_apart_then_resume_needed() -> None:
    patience = RetryPolicy(LIMITS)

    assert failing(patience, "s", 4) == [Retry(1.0), Retry(3.0), Retry(7.0), ResumeNeeded(9.0)]
    assert patience.attempts("s") == 4


def test_W6_resume_needed_is_told_once_and_the_plan_is_tried_for_ever() -> None:
    later = failing(RetryPolicy(LIMITS), "s", 40)[4:]

    assert all(isinstance(verdict, Retry) for verdict in later)
    pauses = [b.at - a.at for a, b in itertools.pairwise(later)]  # type: ignore[union-attr]
    assert pauses[:3] == [8.0, 16.0, 30.0]
    assert set(pauses[2:]) == {30.0}


def test_W6_a_plan_that_fails_while_others_land_goes_to_the_back() -> None:
    patience = RetryPolicy(LIMITS)
    failing(patience, "s", 3)
    patience.landed("other", 5.0)

    assert patience.failed("s", 7.0) == Requeue(30.0)
    assert patience.attempts("s") == 0


def test_W6_who_landed_before_the_first_failure_proves_nothing() -> None:
    patience = RetryPolicy(LIMITS)
    patience.landed("other", 0.0)

    assert isinstance(failing(patience, "s", 4)[-1], ResumeNeeded)


def back_again(patience: RetryPolicy, replays: int, *, suspect: bool = False) -> Verdict:
    failing(patience, "s", 3)
    patience.landed("other", 5.0)
    return patience.failed("s", 7.0, suspect=(frozenset({"create_task"}),) if suspect else (), requeues=replays)


def test_W6_it_stays_away_longer_every_time() -> None:
    absences = [back_again(RetryPolicy(LIMITS), replays) for replays in range(8)]

    assert absences[:4] == [Requeue(30.0), Requeue(60.0), Requeue(120.0), Requeue(240.0)]
    assert absences[-1] == Requeue(900.0)


def test_W6_a_suspect_plan_is_not_retried_for_ever() -> None:
    assert back_again(RetryPolicy(LIMITS), SUSPECT_CEILING - 1, suspect=True) == Requeue(480.0)
    assert back_again(RetryPolicy(LIMITS), SUSPECT_CEILING, suspect=True) == AskAPerson()
    assert isinstance(back_again(RetryPolicy(LIMITS), SUSPECT_CEILING), Requeue)


def an_outage(patience: RetryPolicy, now: float = 0.0) -> None:
    for number in range(5):
        patience.failed(f"s{number}", now)


def test_W6_most_plans_failing_is_an_outage_and_costs_no_attempts() -> None:
    patience = RetryPolicy(LIMITS)
    an_outage(patience)

    assert patience.outage
    attempts = patience.attempts("s0")
    for second in range(1, 20):
        assert isinstance(patience.failed("s0", float(second)), Retry)
    assert patience.attempts("s0") == attempts


def test_W6_a_few_failing_while_more_land_is_no_outage() -> None:
    patience = RetryPolicy(LIMITS)
    for number in range(6):
        patience.landed(f"ok{number}", 0.0)
    an_outage(patience)

    assert not patience.outage
    assert patience.probe_at(0.0) is None


def test_W6_the_same_plan_failing_again_and_again_is_no_outage() -> None:
    patience = RetryPolicy(LIMITS)
    failing(patience, "s", 30)

    assert not patience.outage


def test_W6_what_happened_long_ago_does_not_count() -> None:
    patience = RetryPolicy(LIMITS)
    for number in range(4):
        patience.failed(f"s{number}", 0.0)
    patience.failed("s4", 31.0)

    assert not patience.outage


def test_W6_in_an_outage_one_plan_at_a_time_knocks() -> None:
    patience = RetryPolicy(LIMITS)
    an_outage(patience)

    assert patience.probe_at(0.5) == 1.0
    assert patience.probe_at(1.0) is None
    assert patience.probe_at(1.0) == 3.0
    patience.failed("s0", 1.1)
    assert patience.probe_at(2.0) == 3.1
    knocks = []
    now = 3.1
    for _ in range(8):
        assert patience.probe_at(now) is None
        patience.failed("s0", now)
        again = patience.probe_at(now)
        assert again is not None
        knocks.append(again - now)
        now = again
    assert knocks[-1] == 30.0


def test_W6_an_answer_ends_the_outage_and_what_led_to_it_is_forgotten() -> None:
    patience = RetryPolicy(LIMITS)
    an_outage(patience)
    patience.landed("s0", 2.0)

    assert not patience.outage
    assert patience.probe_at(2.0) is None
    patience.failed("s1", 2.0)
    assert not patience.outage


def test_W6_in_an_outage_resume_needed_is_told_once_for_every_plan_that_failed() -> None:
    patience = RetryPolicy(LIMITS)
    assert patience.overdue(100.0) == []
    an_outage(patience)

    assert patience.overdue(6.9) == []
    assert patience.overdue(7.0) == ["s0", "s1", "s2", "s3", "s4"]
    assert patience.overdue(8.0) == []


def test_a_plan_that_left_the_process_is_forgotten() -> None:
    patience = RetryPolicy()
    patience.failed("s", 0.0)
    patience.forget("s")
    patience.forget("s")

    assert patience.attempts("s") == 0


def test_B3_what_is_remembered_of_the_last_while_is_bounded() -> None:
    patience = RetryPolicy(RetryLimits(outage_plans=10**9))
    for number in range(3000):
        patience.landed(f"s{number}", 0.0)

    assert len(patience._recent.events) == 1000


def test_W6_a_plan_is_not_tried_sooner_than_the_crm_said() -> None:
    patience = RetryPolicy(LIMITS)

    assert [patience.failed("s", 0.0, retry_after_s=told) for told in (100.0, 0.5, 3.0, 50.0)] == [
        Retry(100.0),
        Retry(2.0),
        Retry(4.0),
        ResumeNeeded(50.0),
    ]


def test_W6_a_plan_at_the_back_stays_there_for_as_long_as_the_crm_said() -> None:
    patience = RetryPolicy(LIMITS)
    failing(patience, "s", 3)
    patience.landed("other", 5.0)

    assert patience.failed("s", 7.0, retry_after_s=5_000.0) == Requeue(5_000.0)


def test_W6_in_an_outage_the_crm_told_one_plan_and_not_the_others() -> None:
    patience = RetryPolicy(LIMITS)
    for number in range(LIMITS.outage_plans - 1):
        patience.failed(f"s{number}", 0.0)

    assert patience.failed("told", 0.0, retry_after_s=400.0) == Retry(400.0)
    assert patience.outage
    assert patience.probe_at(LIMITS.longest_pause) is None


def test_W5_the_attempt_before_the_last_failure_is_known() -> None:
    patience = RetryPolicy(LIMITS)

    known = [(patience.is_last_attempt("s"), patience.failed("s", 0.0))[0] for _ in range(4)]
    assert known == [False, False, False, True]
