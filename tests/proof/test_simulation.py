"""The proof that nothing is lost or doubled, in the simulation: seeds, pairs, planted bugs, and cases that once failed.

`PROOF_SEEDS` and `PROOF_SEEDS_OF_PAIR` change the counts; `make prove` runs those of a release.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proof import pairs, planted
from tests.proof.choices import Choices, Step, loaded, saved, shrunk
from tests.proof.paths import CASES
from tests.proof.world import GARBAGE, Simulation

CI = os.environ.get("CI") == "true"
SEEDS = int(os.environ.get("PROOF_SEEDS", "5000" if CI else "200"))
SEEDS_OF_PAIR = int(os.environ.get("PROOF_SEEDS_OF_PAIR", "10" if CI else "1"))
PIECES = 16
FIRST = 10_000_000
"""Not those of a release, so that the two do not look at the same schedules."""


@pytest.fixture(scope="module", autouse=True)
def _many_schedules() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(GARBAGE)
    yield
    gc.set_threshold(*before)


@pytest.mark.parametrize("piece", range(PIECES))
def test_no_schedule_loses_or_doubles_anything(piece: int) -> None:
    for seed in range(FIRST + piece, FIRST + SEEDS, PIECES):
        findings = Simulation(seed).run()
        assert not findings, f"make prove SEED={seed} tells the story: {findings}"


ONCE_FOUND = {
    49_617: "the checker did not know a late session whose result was lost, and then its row",
    60_645: "a request that had no answer arrived after its plan had been refused and blocked as not written",
    64_588: "compaction took the originals of a requeued lane before its copies were read",
    67_478: "the checker took what a writer said that had lost its partitions, and was rolled back, for a conflict",
    109_377: "a plan did not name a session that had landed and has no result, which then went behind it",
    210_693: "as 60645, but the writer that was refused came after the one that had sent the request",
    427_548: "the checker took a call alone, which came after its plan was refused, for a landing in pieces",
    506_344: "the checker took the late word of a writer without transactions for what counts",
    617_256: "the checker did not take the late word of a writer without transactions for its record's end",
    672_354: "the checker took a replay's result for a late word, since its writer had just lost the partition",
    822_584: "the checker did not know that what a session in doubt would have written may be a person's own change",
    10_000_308: "the checker took an opt-out of ours for a person's change that was written over",
    10_000_695: "the checker did not know a late session whose row was deleted before its result",
    10_000_913: "two copies of one session in a lane went to the back of the topic again and again",
    10_001_350: "a copy that compaction had taken was waited for, with all behind it",
    10_001_941: "as 10000913",
    10_002_685: "the checker took one answer's Retry-After for another's",
}


@pytest.mark.parametrize("seed", ONCE_FOUND)
def test_what_a_seed_once_found_does_not_come_back(seed: int) -> None:
    assert Simulation(seed).run() == [], ONCE_FOUND[seed]


LANDED_AND_UNKNOWN = "a refused first attempt was called blocked, and an earlier writer had landed it"
LANDED_AND_UNREAD = "a session that had landed, and could not be read, was called not written"
PAIRS_ONCE_FOUND = {
    ("25-UNKNOWN_MEMBER_ID+duplicate-key", 41_014): LANDED_AND_UNKNOWN,
    ("82-FENCED_INSTANCE_ID+400", 181_090): LANDED_AND_UNKNOWN,
    ("29-TOPIC_AUTHORIZATION_FAILED+403", 341_052): LANDED_AND_UNKNOWN,
    ("writer-reply-not-marked+403", 400_093): LANDED_AND_UNKNOWN,
    ("22-ILLEGAL_GENERATION+403", 60_992): LANDED_AND_UNREAD,
    ("10-MSG_SIZE_TOO_LARGE+120s-silence", 450_876): LANDED_AND_UNREAD,
    ("27-REBALANCE_IN_PROGRESS+401", 81_031): "the checker expected of a writer without transactions that it is fenced",
    ("tombstone+writer-sent", 321_191): "the checker did not wait for a batch that is published a second time",
    ("82-FENCED_INSTANCE_ID+duplicate-key", 321_094): "the checker took what later plans of the item wrote, after one"
    " had been refused, for a person's change",
    ("writer-reply-not-marked+stale-read", 290_088): "the checker took a call that a stale read left alone for a fault",
}


@pytest.mark.parametrize(("name", "seed"), PAIRS_ONCE_FOUND)
def test_what_a_pair_once_found_does_not_come_back(name: str, seed: int) -> None:
    pair = next(one for one in pairs.pairs() if one.name == name)
    assert pairs.run(pair, seed)[0] == [], PAIRS_ONCE_FOUND[name, seed]


@pytest.mark.parametrize("piece", range(PIECES))
def test_no_pair_of_faults_loses_or_doubles_anything(piece: int) -> None:
    for place, pair in enumerate(pairs.pairs()):
        if place % PIECES == piece:
            for seed in range(SEEDS_OF_PAIR):
                findings, _ = pairs.run(pair, seed * 10_000 + place)
                assert not findings, f"make prove PAIR={pair.name} SEED={seed * 10_000 + place}: {findings}"


def test_the_pairs_are_all_there() -> None:
    names = [pair.name for pair in pairs.pairs()]
    assert len(names) == len(set(names)) == 300 + 299 + 520 + 414


@pytest.mark.parametrize("patch", planted.patches(), ids=lambda patch: patch.stem)
def test_a_planted_bug_still_applies(patch: Path) -> None:
    with planted.patched_tree(patch):
        pass


def test_there_are_twenty_planted_bugs() -> None:
    assert [patch.stem[:2] for patch in planted.patches()] == [f"{number:02}" for number in range(1, 21)]


@pytest.mark.parametrize("name", ["02-commit-on-arrival", "12-dedupe-by-offset", "16-count-twice"])
def test_a_planted_bug_is_found(name: str) -> None:
    """Three of them here; `make prove` looks for all."""
    patch = next(patch for patch in planted.patches() if patch.stem == name)
    assert planted.found(patch, most_seeds=20).by is not None


@pytest.mark.parametrize("path", sorted(CASES.glob("*.json")), ids=lambda path: path.stem)
def test_a_case_that_once_failed_does_not_fail_again(path: Path) -> None:
    assert Simulation(schedule=loaded(path)).run() == []


def test_a_schedule_that_is_run_again_tells_the_same_story() -> None:
    told: list[list[str]] = [[], []]
    first = Simulation(7, story=told[0].append)
    first.run()
    Simulation(schedule=first.schedule, story=told[1].append).run()
    assert told[0] == told[1]


def test_a_schedule_survives_being_saved(tmp_path: Path) -> None:
    simulation = Simulation(3)
    simulation.run()
    (tmp_path / "case.json").write_text(saved(simulation.schedule))
    assert loaded(tmp_path / "case.json") == simulation.schedule


def test_what_is_not_in_a_schedule_is_harmless() -> None:
    choices = Choices()
    choices.begin(Step("an action", [5]))
    assert [choices.below(3), choices.below(3)] == [2, 0]
    assert not choices.chance(100 - 1)


def test_shrinking_leaves_what_the_failure_needs() -> None:
    noise = [Step("noise", [1, 2, 3]) for _ in range(20)]
    schedule = [Step("setup", [4]), *noise, Step("cause", [7, 9]), *noise, Step("effect", [1])]

    def fails(steps: list[Step]) -> bool:
        names = [step.action for step in steps]
        causes = [step for step in steps if step.action == "cause" and step.draws[:1] == [7]]
        return bool(causes) and "effect" in names

    assert shrunk(schedule, fails) == [Step("setup", []), Step("cause", [7]), Step("effect", [])]
