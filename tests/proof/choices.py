"""A schedule: the list of choices that makes one run of the simulation. The same list gives the same run.

A step is an action by its name and the numbers that were drawn in it. A schedule that is cut anywhere still runs: an
action that is impossible is passed over, a number that is missing is 0, and 0 is always the harmless choice. That is
what makes shrinking simple.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SETUP = "setup"


@dataclass(slots=True)
class Step:
    action: str
    draws: list[int] = field(default_factory=list)


Schedule = list[Step]


class Choices:
    """Draws numbers from a seed and writes them down, or reads them from a schedule."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = None if seed is None else random.Random(seed)
        self._draws: list[int] = []
        self._at = 0

    def begin(self, step: Step) -> None:
        """What is drawn from now on belongs to this step."""
        self._draws, self._at = step.draws, 0

    def below(self, n: int) -> int:
        """From 0, which is harmless, up to n - 1."""
        if self._random is not None:
            drawn = int(self._random.random() * n)
            self._draws.append(drawn)
            return drawn
        if self._at >= len(self._draws):
            return 0
        self._at += 1
        return min(self._draws[self._at - 1], n - 1)

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred cases, and never in a schedule that does not say so."""
        return self.below(100) >= 100 - percent


def saved(schedule: Iterable[Step]) -> str:
    return "[\n" + ",\n".join(json.dumps([step.action, *step.draws]) for step in schedule) + "\n]\n"


def loaded(path: Path) -> Schedule:
    return [Step(action, draws) for action, *draws in json.loads(path.read_text())]


def shrunk(schedule: Schedule, fails: Callable[[Schedule], bool], *, most_tries: int = 3000) -> Schedule:
    """A smaller schedule that still fails: steps are left out in ever smaller pieces, then numbers become 0."""
    tries = 0

    def still_fails(candidate: Schedule) -> bool:
        nonlocal tries
        tries += 1
        return tries <= most_tries and fails([Step(step.action, list(step.draws)) for step in candidate])

    best = schedule
    while tries <= most_tries:
        smaller = _without_numbers(_without_steps(best, still_fails), still_fails)
        if _size(smaller) == _size(best):
            return smaller
        best = smaller
    return best


def _size(schedule: Sequence[Step]) -> tuple[int, int]:
    return len(schedule), sum(sum(step.draws) + len(step.draws) for step in schedule)


def _without_steps(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    piece = max(1, len(schedule) // 2)
    while piece >= 1:
        at = 1  # the first step is the setup
        while at < len(schedule):
            candidate = schedule[:at] + schedule[at + piece :]
            if fails(candidate):
                schedule = candidate
            else:
                at += piece
        piece //= 2
    return schedule


def _without_numbers(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    for place, step in enumerate(schedule):
        for draws in _simpler(step.draws):
            candidate = [*schedule[:place], Step(step.action, draws), *schedule[place + 1 :]]
            if fails(candidate):
                schedule = candidate
                break
    return schedule


def _simpler(draws: Sequence[int]) -> Iterable[list[int]]:
    if draws:
        yield []
        for cut in range(1, len(draws)):
            yield list(draws[:cut])
    for place, drawn in enumerate(draws):
        if drawn:
            yield [*draws[:place], 0, *draws[place + 1 :]]
