"""Several systems side by side, each in a thread, on one broker and one fork server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.chaos.processes.kills import Kill, deal, killed_in
from tests.chaos.processes.system import ProcessSystem, Report, Shape
from tests.chaos.processes.zombies import SLEEPS_AT, slept
from tests.support.brokers.kafka import RealKafka
from tests.support.forkserver import ForkServer

_SHAPES = (
    Shape(protocol="consumer"), Shape(protocol="classic"), Shape(protocol="consumer"),
    Shape(protocol="classic", transactions=False),
)  # fmt: skip
SIDE_BY_SIDE = len(_SHAPES)


def killed(forks: ForkServer, kafka: RealKafka, folder: Path, *, kills: int, seed: int) -> Report:
    """So many kills in all, over the systems."""
    dealt = deal(kills, seed)
    hands: Sequence[Sequence[Kill]] = [dealt[number::SIDE_BY_SIDE] for number in range(SIDE_BY_SIDE)]

    def one(number: int) -> Report:
        with ProcessSystem(forks, kafka, folder / f"system-{number}", seed * 100 + number, _SHAPES[number]) as system:
            return killed_in(system, hands[number])

    return side_by_side(one)


def slept_side_by_side(forks: ForkServer, kafka: RealKafka, folder: Path, *, zombies: int, seed: int) -> Report:
    points = [SLEEPS_AT[number % len(SLEEPS_AT)] for number in range(zombies)]
    hands = [
        points[len(points) * n // SIDE_BY_SIDE : len(points) * (n + 1) // SIDE_BY_SIDE] for n in range(SIDE_BY_SIDE)
    ]

    def one(number: int) -> Report:
        with ProcessSystem(forks, kafka, folder / f"system-{number}", seed * 100 + number, _SHAPES[number]) as system:
            return slept(system, hands[number])

    return side_by_side(one)


def side_by_side(one: Callable[[int], Report], count: int = SIDE_BY_SIDE) -> Report:
    with ThreadPoolExecutor(count) as pool:
        reports = list(pool.map(one, range(count)))
    return Report(
        [each for report in reports for each in report.done],
        [f"system {number}: {each}" for number, report in enumerate(reports) for each in report.findings],
        sum(report.sessions for report in reports),
    )
