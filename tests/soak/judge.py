"""What a long run of the whole system has to show, as plain values: no clock, no sockets, no processes.

J1 What is broken turns some metric, and turns it back when it is healed.
J2 No gauge says more than was heard: while the broker is out of reach, nobody claims progress after it went.
J3 Caught-up is true: whatever was appended before it has settled.
J4 A healthy system says nothing above info, and everything that it says is JSON.
J5 No process ends while all is healthy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SAMPLE_S = 5.0
"""Between a moment and what a process can have heard of it: how often the broker is asked, and how old an answer is."""
SILENT_S = 30.0
"""From here on a writer counts a broker that it does not hear as one that may have anything on the topic."""
AFTERMATH_S = 10.0
"""After all is well again, a client library may still say what went wrong before."""

Labels = frozenset[tuple[str, str]]
Key = tuple[str, Labels]

HEARD = {"planner": "planner_broker_heard_timestamp_seconds", "writer": "writeback_broker_heard_timestamp_seconds"}
CAUGHT_UP = {"planner": "planner_caught_up_timestamp_seconds", "writer": "writeback_caught_up_timestamp_seconds"}
OLDEST = {"planner": "planner_oldest_outcome_age_seconds", "writer": "writeback_oldest_unsettled_plan_age_seconds"}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a process said of itself, asked at `at` and answered by `until`. `values` is None if it did not answer."""

    process: str
    at: float
    until: float
    values: Mapping[Key, float] | None = None
    ready: bool = False

    @property
    def kind(self) -> str:
        return "planner" if self.process.startswith("planner") else "writer"

    def total(self, name: str, **labels: str) -> float:
        """Sum over all samples of that name with these labels; NaN if there is none."""
        wanted = set(labels.items())
        found = [value for (known, has), value in (self.values or {}).items() if known == name and wanted <= has]
        return sum(found) if found else math.nan


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The readings of one round."""

    at: float
    readings: tuple[Reading, ...]

    def of(self, kind: str) -> list[Reading]:
        """Those that answered."""
        return [each for each in self.readings if each.kind == kind and each.values is not None]

    def values(self, name: str, **labels: str) -> list[float]:
        """One per process that has it."""
        found = [each.total(name, **labels) for each in self.readings if each.values is not None]
        return [each for each in found if not math.isnan(each)]

    def total(self, name: str, **labels: str) -> float:
        return sum(self.values(name, **labels))

    def highest(self, name: str, **labels: str) -> float:
        return max(self.values(name, **labels), default=math.nan)


@dataclass(frozen=True, slots=True)
class View:
    """What a sign is looked for in: the newest round, the last one before the phase, and one some time ago."""

    now: Snapshot
    before: Snapshot
    lately: Snapshot

    def increase(self, name: str, **labels: str) -> float:
        """Since the phase began. A process that started anew counts from 0, as `increase()` does."""
        return _increase(self.before, self.now, name, labels)

    def lately_increased(self, name: str, **labels: str) -> float:
        return _increase(self.lately, self.now, name, labels)


def _increase(first: Snapshot, last: Snapshot, name: str, labels: Mapping[str, str]) -> float:
    before = {each.process: each.total(name, **labels) for each in first.readings}
    grown = 0.0
    for reading in last.readings:
        value, was = reading.total(name, **labels), before.get(reading.process, math.nan)
        if not math.isnan(value):
            grown += value if math.isnan(was) or value < was else value - was
    return grown


@dataclass(frozen=True, slots=True)
class Sign:
    """A metric that must turn while something is broken, in an operator's words, and when it has turned back."""

    says: str
    turned: Callable[[View], bool]
    back: Callable[[View], bool]


@dataclass(slots=True)
class Seen:
    """What became of a sign: seconds from the fault until it turned, and from the healing until it was back."""

    says: str
    turned_after: float | None = None
    back_after: float | None = None


@dataclass(slots=True)
class Told:
    """What became of a phase. Times are Unix."""

    phase: str
    began: float
    healed: float = math.inf
    """When what was broken was put right."""
    well: float = math.inf
    """When every sign was back and the system healthy."""
    broker_out: bool = False
    signs: list[Seen] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)
    """Processes that ended by themselves and were started again, as a supervisor does."""


@dataclass(frozen=True, slots=True)
class Window:
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Appended:
    """A record of the planned topic, and when it was settled: by a final result, or by its next copy."""

    session: str
    at: float
    settled_at: float


def unseen(told: Iterable[Told]) -> Iterator[str]:
    """J1, J5."""
    for phase in told:
        for sign in phase.signs:
            if sign.turned_after is None:
                yield f"J1 {phase.phase}: never seen: {sign.says}"
            elif sign.back_after is None:
                yield f"J1 {phase.phase}: not back after it was healed: {sign.says}"
        if phase.well == math.inf:
            yield f"J1 {phase.phase}: the system did not become healthy again"


def lies(snapshots: Iterable[Snapshot], told: Iterable[Told]) -> Iterator[str]:
    """J2: each kind of lie of a process in a phase once, with its worst."""
    outages = [(each, Window(each.began, min(each.healed, each.well))) for each in told if each.broker_out]
    worst: dict[tuple[str, str, str], float] = {}
    for snapshot in snapshots:
        for reading in (each for each in snapshot.readings if each.values is not None):
            for phase, window in outages:
                if window.begin + SAMPLE_S < reading.at and reading.until < window.end:
                    for what, by in _untrue_while_out(reading, window.begin):
                        key = (phase.phase, reading.process, what)
                        worst[key] = max(by, worst.get(key, 0.0))
            for what, by in _untrue_always(reading):
                key = ("any time", reading.process, what)
                worst[key] = max(by, worst.get(key, 0.0))
    yield from (f"J2 {phase}: {process}: {what}, by {by:.1f} s" for (phase, process, what), by in worst.items())


def _untrue_while_out(reading: Reading, since: float) -> Iterator[tuple[str, float]]:
    for what, name in (("caught up", CAUGHT_UP[reading.kind]), ("heard the broker", HEARD[reading.kind])):
        claimed = reading.total(name)
        if claimed > since + SAMPLE_S:  # NaN claims nothing
            yield f"says it {what} after the broker went", claimed - since
    silent_for = reading.at - since
    if silent_for > SILENT_S + 2 * SAMPLE_S and reading.total(OLDEST[reading.kind]) < silent_for - 2 * SAMPLE_S:
        yield "says that the oldest is younger than the silence", silent_for - reading.total(OLDEST[reading.kind])


def _untrue_always(reading: Reading) -> Iterator[tuple[str, float]]:
    for name in (CAUGHT_UP[reading.kind], HEARD[reading.kind]):
        if reading.total(name) > reading.until + 1:
            yield f"{name} is in the future", reading.total(name) - reading.until


def overclaims(snapshots: Iterable[Snapshot], records: Sequence[Appended], partitions: int) -> Iterator[str]:
    """J3: the least that the writers claim, in rounds in which every partition is somebody's. The broker's clock and
    ours are one; the first untrue claim is told, and how many there were.
    """
    untrue: list[str] = []
    for snapshot in snapshots:
        writing = [each for each in snapshot.of("writer") if each.total("writeback_build_info", mode="write") == 1]
        if sum(each.total("writeback_assigned_partitions") for each in writing) != partitions:
            continue
        claims = [each.total(CAUGHT_UP["writer"]) for each in writing]
        claim = min((each for each in claims if not math.isnan(each)), default=0.0)
        until = max(each.until for each in writing)
        open_then = [each for each in records if each.at < claim - 0.001 and each.settled_at > until]
        if open_then:
            oldest = min(open_then, key=lambda each: each.at)
            untrue.append(f"{oldest.session} was appended {claim - oldest.at:.1f} s before what was claimed")
    if untrue:
        yield f"J3 {len(untrue)} times a plan was open that was said to be settled; first: {untrue[0]}"


def noise(lines: Iterable[tuple[str, Mapping[str, Any] | str, float]], healthy: Sequence[Window]) -> Iterator[str]:
    """J4. Lines as (process, what it wrote, when); what is no JSON is told whenever it was written."""
    told: dict[str, int] = {}
    for process, line, at in lines:
        if isinstance(line, str):
            text = f"J4 {process} wrote past its log: {line[:160]}"
        elif line["level"] in ("debug", "info") or not any(each.begin <= at <= each.end for each in healthy):
            continue
        else:
            more = {name: value for name, value in line.items() if name not in _EVERY_LINE}
            text = f"J4 while healthy: {process} {line['level']} {line['event']} {more}"[:300]
        told[text] = told.get(text, 0) + 1
    yield from (f"{text} ({times} times)" if times > 1 else text for text, times in told.items())


_EVERY_LINE = {"service", "level", "event", "logger", "timestamp"}


def healthy_windows(began: float, told: Sequence[Told], ended: float) -> list[Window]:
    """From where all had been well for a moment to where the next thing was broken."""
    starts = [began, *(each.well + AFTERMATH_S for each in told)]
    ends = [*(each.began for each in told), ended]
    return [Window(start, end) for start, end in zip(starts, ends, strict=True) if start < end]
