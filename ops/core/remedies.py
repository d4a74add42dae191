"""What becomes of a rejected record: whether sending the same bytes again can help, and what does. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum


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


def remedies(codes: Iterable[str]) -> tuple[Again, tuple[str, ...]]:
    """Of a record with several reasons: the least hopeful decides, and every remedy is named once."""
    found = [remedy(code) for code in codes]
    order = [Again.YES, Again.OTHER_KEY, Again.NO]
    worst = max((again for again, _ in found), key=order.index, default=Again.NO)
    return worst, tuple(dict.fromkeys(what for _, what in found))
