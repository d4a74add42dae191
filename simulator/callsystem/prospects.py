"""Whom to call: rows of a telemarketing file, or made-up ones with the same skew."""

import csv
import random
import uuid
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
_SPACE = uuid.UUID("5b0f4a52-7d5c-4f2e-8f11-2f3c6d1a9e77")

# How often the columns have these values in the file of 45,211 calls (UCI "Bank Marketing", CC BY 4.0).
_CONTACT = {"cellular": 29_285, "unknown": 13_020, "telephone": 2_906}
_PREVIOUS_OUTCOME = {"unknown": 36_959, "failure": 4_901, "other": 1_840, "success": 1_511}
_TIMES_CALLED = {
    1: 17_544, 2: 12_505, 3: 5_521, 4: 3_522, 5: 1_764, 6: 1_291, 7: 735, 8: 540, 9: 327, 10: 266, 11: 201, 12: 155,
    13: 133, 14: 93, 20: 400, 30: 214,
}  # fmt: skip
_DEPOSIT_SHARE = {"unknown": 0.092, "failure": 0.126, "other": 0.167, "success": 0.647}


@dataclass(frozen=True, slots=True)
class Prospect:
    """One row: one queue item. `times_called` is its number of sessions; `seconds` the length of the last call."""

    number: int
    item_id: str
    contact: str
    seconds: int
    times_called: int
    previous_outcome: str
    deposit: bool


def item_id(seed: int, number: int) -> str:
    """The queue item's id: the same seed and row, the same item."""
    return str(uuid.uuid5(_SPACE, f"item/{seed}/{number}"))


def from_file(path: Path, *, items: int | None, seed: int, most_sessions: int, spread: bool = False) -> list[Prospect]:
    """The first `items` rows, or as many from all over the file. Raises ValueError naming a column that is missing."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = {"contact", "duration", "campaign", "poutcome", "deposit"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path.name} has no column {', '.join(sorted(missing))}")
        rows = list(enumerate(reader, 1)) if spread else list(islice(enumerate(reader, 1), items))
        step = len(rows) / items if spread and items and items < len(rows) else 1
        return [
            Prospect(
                number,
                item_id(seed, number),
                row["contact"],
                int(row["duration"]),
                max(1, min(most_sessions, int(row["campaign"]))),
                row["poutcome"],
                row["deposit"] == "yes",
            )
            for number, row in (rows[int(at * step)] for at in range(min(len(rows), items or len(rows))))
        ]


def made_up(*, items: int, seed: int, most_sessions: int) -> list[Prospect]:
    """As many items as asked for, with the file's distributions."""
    return [_made_up(number, seed, most_sessions) for number in range(1, items + 1)]


def _made_up(number: int, seed: int, most_sessions: int) -> Prospect:
    dice = random.Random(f"{seed}/prospect/{number}")  # noqa: S311 - has to be reproducible
    previous = _draw(dice, _PREVIOUS_OUTCOME)
    return Prospect(
        number,
        item_id(seed, number),
        _draw(dice, _CONTACT),
        min(4_918, int(180 * dice.lognormvariate(0, 0.95))),
        min(most_sessions, _draw(dice, _TIMES_CALLED)),
        previous,
        dice.random() < _DEPOSIT_SHARE[previous],
    )


def _draw(dice: random.Random, weights: dict[_T, int]) -> _T:
    return dice.choices(list(weights), weights=list(weights.values()))[0]
