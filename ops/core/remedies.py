"""What becomes of a rejected record: whether sending the same bytes again can help, and what does. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

Row = Mapping[str, Any]


class Again(StrEnum):
    """Whether the very same record can be accepted if it is published again."""

    YES = "yes"
    """Once what the remedy names is done."""
    OTHER_KEY = "under the right key"
    NO = "no"


_CORRECT = "correct the outcome at its sender and publish it again; the same session id may be used, it has no plan"

_REKEY = "writeback rejected redrive --rekey sends it under its queue_item_id; correct the sender"

_REMEDIES: Mapping[str, tuple[Again, str]] = {
    "unknown_schema": (
        Again.YES,
        "run a planner that knows the schema, or point it to the right registry; then writeback rejected redrive",
    ),
    "cannot_be_planned": (
        Again.YES,
        "the planner's log line outcome.cannot_be_planned has the error: correct it; then writeback rejected redrive",
    ),
    "plan_too_large": (Again.YES, "raise max.message.bytes of planned-writebacks; then writeback rejected redrive"),
    "empty_key": (Again.OTHER_KEY, _REKEY),
    "key_disagrees": (Again.OTHER_KEY, _REKEY),
    "misplaced": (Again.OTHER_KEY, f"set partitioner=murmur2_random on the producer; {_REKEY}"),
    "mismatch": (Again.NO, "the session has its plan; publish what is new as a session of its own"),
    "undecodable": (Again.NO, "it is not a call outcome: correct the sender's encoding"),
    "too_large_to_copy": (
        Again.NO,
        "its original is where the header rejected-from says, until retention takes it",
    ),
    "too_large": (Again.NO, "its original is where the header rejected-from says, until retention takes it"),
    "too_many_preceding": (Again.NO, "read the row again, so that the baseline includes what has landed since"),
}


def remedy(code: str) -> tuple[Again, str]:
    return _REMEDIES.get(code, (Again.NO, _CORRECT))


CANNOT_BE_READ = frozenset({"undecodable", "unknown_schema", "too_large", "too_large_to_copy"})
"""Of a record with one of these nobody knows what it says."""
_ANOTHER_PLAN = "its session has another plan: publish what is new as a session of its own"


def planned_since(row: Row) -> bool:
    """Whether the session of a rejected outcome has its plan: it was published again since, corrected. An opt-out needs
    a plan that opts out; an outcome that was rejected because there was a plan already has none of its own.
    """
    if row["since_status"] is None:
        return False
    return bool(row["since_opt_out"]) if row["opt_out"] else "mismatch" not in row["codes"].split()


def is_open_opt_out(row: Row) -> bool:
    """Whether nobody has taken it up. One that was sent again counts where it was rejected again."""
    return bool(row["opt_out"]) and not planned_since(row) and not row["rejected_again"]


def remedies_of(row: Row) -> tuple[Again, tuple[str, ...]]:
    """Of a rejected record, given what is known of its session now."""
    if planned_since(row):
        return Again.NO, ("nothing is left to do here: its session was published again since, and has its plan",)
    again, found = remedies(row["codes"].split())
    if row["since_status"] is None:
        return again, found
    return again, tuple(dict.fromkeys(_ANOTHER_PLAN if each == _CORRECT else each for each in found))


def remedies(codes: Iterable[str]) -> tuple[Again, tuple[str, ...]]:
    """Of a record with several reasons: the least hopeful decides, and every remedy is named once."""
    found = [remedy(code) for code in codes]
    order = [Again.YES, Again.OTHER_KEY, Again.NO]
    worst = max((again for again, _ in found), key=order.index, default=Again.NO)
    return worst, tuple(dict.fromkeys(what for _, what in found))
