"""The judge of the long run: each of its rules finds what it forbids, and nothing where all is true."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from tests.soak.judge import (
    AFTERMATH_S,
    CAUGHT_UP,
    HEARD,
    OLDEST,
    SILENT_S,
    Appended,
    Key,
    Reading,
    Seen,
    Snapshot,
    Told,
    View,
    Window,
    healthy_windows,
    lies,
    noise,
    overclaims,
    unseen,
)

WENT, HEALED = 1000.0, 1100.0


def values(**samples: float) -> dict[Key, float]:
    return {(name, frozenset()): value for name, value in samples.items()}


def reading(at: float, samples: Mapping[str, float] | None = None, *, kind: str = "writer") -> Reading:
    """Of a process that lost the broker at WENT and says so; `samples` on top."""
    true = {HEARD[kind]: WENT, CAUGHT_UP[kind]: WENT - 1, OLDEST[kind]: at - WENT}
    return Reading(f"{kind}-0", at, at + 0.1, values(**true | dict(samples or {})), ready=True)


def snapshot(*readings: Reading) -> Snapshot:
    return Snapshot(readings[0].at, readings)


def outage(**more: object) -> Told:
    given: dict[str, object] = {"phase": "away", "began": WENT, "healed": HEALED, "well": 1120.0, "broker_out": True}
    return Told(**given | more)  # type: ignore[arg-type]


def view(before: Reading, now: Reading) -> View:
    return View(snapshot(now), snapshot(before), snapshot(before))


def test_J1_a_sign_that_never_turned_or_did_not_turn_back_is_told() -> None:
    never, stuck, fine = Seen("a"), Seen("b", turned_after=3), Seen("c", turned_after=3, back_after=4)
    assert list(unseen([outage(signs=[never, stuck, fine])])) == [
        "J1 away: never seen: a",
        "J1 away: not back after it was healed: b",
    ]


def test_J1_a_system_that_does_not_become_healthy_again_is_told() -> None:
    assert list(unseen([outage(well=math.inf)])) == ["J1 away: the system did not become healthy again"]


def test_J2_true_gauges_of_an_outage_are_no_lies() -> None:
    rounds = [snapshot(reading(at), reading(at, kind="planner")) for at in (1006.0, 1050.0, 1099.0)]
    assert list(lies(rounds, [outage()])) == []


@pytest.mark.parametrize("kind", ["writer", "planner"])
@pytest.mark.parametrize(
    ("gauge", "claim", "says"),
    [
        (CAUGHT_UP, 1049.0, "caught up after the broker went"),
        (HEARD, 1049.0, "heard the broker after the broker went"),
        (OLDEST, 0.0, "the oldest is younger than the silence"),
    ],
)
def test_J2_a_gauge_that_says_more_than_was_heard_is_told(
    kind: str, gauge: dict[str, str], claim: float, says: str
) -> None:
    [told] = lies([snapshot(reading(1050.0, {gauge[kind]: claim}, kind=kind))], [outage()])
    assert told.startswith(f"J2 away: {kind}-0: ")
    assert says in told


def test_J2_nothing_is_claimed_by_not_a_number_and_a_short_silence_makes_nothing_old() -> None:
    unknown = reading(1050.0, {CAUGHT_UP["writer"]: math.nan})
    soon = reading(WENT + SILENT_S, {OLDEST["writer"]: 0.0})
    assert list(lies([snapshot(unknown), snapshot(soon)], [outage()])) == []


def test_J2_what_is_said_after_healing_is_judged_by_it_no_more() -> None:
    after = reading(HEALED, {CAUGHT_UP["writer"]: HEALED, OLDEST["writer"]: 0.0})
    assert list(lies([snapshot(after)], [outage()])) == []


def test_J2_a_time_in_the_future_is_told_whenever_it_is_said() -> None:
    [told] = lies([snapshot(reading(500.0, {CAUGHT_UP["writer"]: 600.0, HEARD["writer"]: 400.0}))], [])
    assert "is in the future" in told


def writers(*claims: float, partitions: int = 3, at: float = 50.0) -> Snapshot:
    made = []
    for number, claim in enumerate(claims):
        known = values(**{CAUGHT_UP["writer"]: claim, "writeback_assigned_partitions": partitions / len(claims)})
        known["writeback_build_info", frozenset({("mode", "write")})] = 1.0
        made.append(Reading(f"writer-{number}", at, at + 0.1, known))
    return Snapshot(at, tuple(made))


def test_J3_a_claim_before_the_oldest_open_plan_is_true() -> None:
    records = [Appended("s1", 10.0, 20.0), Appended("s2", 40.0, math.inf)]
    assert list(overclaims([writers(39.0, 45.0)], records, partitions=3)) == []


def test_J3_a_claim_past_a_plan_that_is_open_is_told() -> None:
    records = [Appended("s1", 10.0, 60.0)]
    [told] = overclaims([writers(39.0, 45.0), writers(41.0, 45.0)], records, partitions=3)
    assert told.startswith("J3 2 times")
    assert "s1 was appended 29.0 s before" in told


def test_J3_nothing_is_judged_while_a_partition_is_nobodys() -> None:
    assert list(overclaims([writers(39.0, partitions=2)], [Appended("s1", 10.0, 60.0)], partitions=3)) == []


def line(level: str, at: float) -> tuple[str, dict[str, str], float]:
    return "writer-0", {"level": level, "event": "plan.held", "timestamp": "t", "code": "7"}, at


def test_J4_a_line_above_info_counts_while_healthy_only_and_equal_ones_once() -> None:
    lines = [line("info", 5), line("warning", 5), line("warning", 6), line("error", 15)]
    assert list(noise(lines, [Window(0, 10)])) == [
        "J4 while healthy: writer-0 warning plan.held {'code': '7'} (2 times)"
    ]


def test_J4_what_is_no_json_counts_at_any_time() -> None:
    assert list(noise([("writer-0", "Traceback", 0.0)], [])) == ["J4 writer-0 wrote past its log: Traceback"]


def test_healthy_is_from_where_all_was_well_to_where_the_next_thing_was_broken() -> None:
    told = [outage(), outage(began=1200.0, healed=1300.0, well=math.inf)]
    assert healthy_windows(900.0, told, 1400.0) == [Window(900.0, WENT), Window(1120.0 + AFTERMATH_S, 1200.0)]


def test_a_counter_of_a_process_that_started_anew_counts_from_zero() -> None:
    before, again = reading(1.0, {"requeues": 5.0}), reading(2.0, {"requeues": 2.0})
    assert view(before, again).increase("requeues") == 2.0
    assert view(before, reading(2.0, {"requeues": 9.0})).increase("requeues") == 4.0
    assert view(before, Reading("writer-0", 2.0, 2.1)).increase("requeues") == 0.0


def test_the_highest_of_nothing_is_unknown_and_labels_choose_samples() -> None:
    known = {("held", frozenset({("reason", "a")})): 1.0, ("held", frozenset({("reason", "b")})): 2.0}
    now = snapshot(Reading("writer-0", 1.0, 1.1, known))
    assert (now.total("held"), now.total("held", reason="b")) == (3.0, 2.0)
    assert math.isnan(now.highest("other"))
