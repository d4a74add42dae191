"""`python -m tests.proof.runs`: a worker of the release counts. It takes a request a line, "seeds 12", and answers each
with a line of JSON.

It is a process of its own, started in the folder whose sources it is to run: the tree, or `compiled.folder()`.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.proof import pairs
from tests.proof.world import Simulation, collect_seldom

Answer = dict[str, Any]
"""What has become of one request."""
Say = Callable[[str], None]
PIECE = 250
"""So many seeds are one request."""
STORIES = 25


def seed(number: int) -> list[str]:
    return Simulation(number).run()[:3]


def pair(place: int, number: int) -> tuple[list[str], bool]:
    found, hit = pairs.run(list(pairs.pairs())[place], number)
    return found[:3], hit


def seeds(number: int) -> Answer:
    began, findings, numbers = time.process_time(), [], range(number * PIECE, (number + 1) * PIECE)
    for one in numbers:
        findings += [(f"seed {one}", what) for what in seed(one)]
    return ended(PIECE, PIECE, began, findings) | {"of": [numbers.start, numbers.stop]}


def every_pair(number: int) -> Answer:
    """Every pair once, with this number's seeds."""
    began, findings, runs, hits = time.process_time(), [], 0, 0
    for place, one in enumerate(pairs.pairs()):
        with_seed = number * 10_000 + place
        wrong, hit = pairs.run(one, with_seed)
        findings += [(f"pair {one.name} seed {with_seed}", what) for what in wrong[:3]]
        runs, hits = runs + 1, hits + hit
    return ended(runs, hits, began, findings) | {"of": [number, number + 1]}


def again(where: str) -> list[str]:
    """What the run finds that a finding names: "seed 7", or "pair NAME seed 7"."""
    *name, _, number = where.split(" ")
    if not name:
        return seed(int(number))
    return pair([one.name for one in pairs.pairs()].index(" ".join(name[1:])), int(number))[0]


def ended(runs: int, hits: int, began: float, findings: list[tuple[str, str]]) -> Answer:
    cpu_s = time.process_time() - began
    return {"runs": runs, "hits": hits, "cpu_s": cpu_s, "findings": findings, "first": {}}


# Stories: all that a run says and leaves behind, as a digest.


def stories_of_seeds(number: int) -> Answer:
    def begun(one: int) -> Callable[[Say], Simulation]:
        return lambda say: Simulation(one, story=say)

    return _stories({f"seed {one}": begun(one) for one in range(number * STORIES, (number + 1) * STORIES)})


def stories_of_pairs(number: int) -> Answer:
    """Of pairs that lie apart, so that a few hundred have every fault among them."""
    every = list(pairs.pairs())

    def begun(place: int) -> Callable[[Say], Simulation]:
        return lambda say: pairs.simulation(every[place], place, story=say)

    places = [(number * STORIES + nth) * 7 % len(every) for nth in range(STORIES)]
    return _stories({f"pair {every[place].name} seed {place}": begun(place) for place in places})


def _stories(runs: Mapping[str, Callable[[Say], Simulation]]) -> Answer:
    began = time.process_time()
    stories = {where: story(begin) for where, begin in runs.items()}
    return {"stories": stories, "cpu_s": time.process_time() - began}


def story(begin: Callable[[Say], Simulation]) -> str:
    """The digest of what a run chose, what happened in it, what the three logs hold, and what is wrong."""
    lines: list[str] = []
    run = begin(lines.append)
    try:
        findings = run.run()
    except Exception as error:  # noqa: BLE001  part of the story
        findings = [f"{type(error).__name__} {error}"]
    world = run.world
    schedule = [(step.action, step.draws) for step in run.schedule]
    happened = [world.crashed, world.faults, world.happened]
    logs = [world.broker.published, world.broker.commits, world.crm.log]
    return sha256(repr([findings, lines, schedule, happened, logs]).encode()).hexdigest()[:16]


WORK: Mapping[str, Callable[[int], Answer]] = {
    "seeds": seeds,
    "pairs": every_pair,
    "stories-of-seeds": stories_of_seeds,
    "stories-of-pairs": stories_of_pairs,
}


class Ended(Exception):
    """A worker is gone; what it said last is on the standard error."""


class Workers:
    """Processes that run in a folder. A context manager."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self._count = count
        self._free: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
        self._stack = ExitStack()

    def __enter__(self) -> Workers:
        for _ in range(self._count):
            worker = subprocess.Popen(
                [sys.executable, "-m", "tests.proof.runs"], cwd=self.folder, text=True, bufsize=1,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            self._stack.enter_context(worker)  # which ends once its input does
            self._free.put(worker)
        self._pool = self._stack.enter_context(ThreadPoolExecutor(self._count))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def map(self, name: str, numbers: Iterable[int]) -> Iterator[Answer]:
        return self._pool.map(lambda number: self._ask(f"{name} {number}"), numbers)

    def _ask(self, request: str) -> Answer:
        worker = self._free.get()
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            worker.stdin.write(request + "\n")
            line = worker.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            self._free.put(worker)
        if not line:
            raise Ended(f"a worker in {self.folder} ended before it answered: {request}")
        answer: Answer = json.loads(line)
        return answer


def main() -> None:
    collect_seldom()
    for line in sys.stdin:
        name, number = line.split()
        print(json.dumps(WORK[name](int(number))), flush=True)


if __name__ == "__main__":
    main()
