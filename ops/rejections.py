"""Which rejected records are meant: options that `rejected list` and `rejected redrive` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ops.core.redriving import UNKNOWN_SENDER
from ops.core.times import HOW, milliseconds
from ops.options import moment_option
from ops.view.view import View

Code = Annotated[
    list[str] | None, typer.Option("--code", metavar="CODE", help="Records with this reason; give it several times.")
]
FromSender = Annotated[
    list[str] | None,
    typer.Option("--sender", metavar="CLIENT", help="Records of this sender, by its header client-id."),
]
Since = Annotated[str | None, typer.Option(metavar="TIME", help=f"Rejected then or later: {HOW}.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Rejected before that.")]
OptOuts = Annotated[bool, typer.Option("--opt-out", help="Only outcomes in which the contact opted out.")]


@dataclass(frozen=True, slots=True)
class Filters:
    code: Sequence[str] | None
    sender: Sequence[str] | None
    opt_out: bool
    since: str | None
    until: str | None

    def described(self) -> str:
        parts = [
            *(f"code {each}" for each in self.code or ()),
            *(f"sender {each}" for each in self.sender or ()),
            *(["opt-outs"] if self.opt_out else []),
            *(f"{word} {text}" for word, text in (("since", self.since), ("until", self.until)) if text),
        ]
        return ", ".join(parts) or "every rejected record"


def chosen(view: View, filters: Filters) -> list[dict[str, Any]]:
    """Opt-outs first, then in the order in which they were rejected. Raises BadParameter."""
    conditions, values = ["1"], list[int]()
    if filters.opt_out:
        conditions.append("opt_out = 1")
    for condition, name, text in (("at_ms >= ?", "since", filters.since), ("at_ms < ?", "until", filters.until)):
        if (at := moment_option(name, text)) is not None:
            conditions.append(condition)
            values.append(milliseconds(at))
    found = view.store.rejected(" AND ".join(conditions), values)
    return [row for row in found if _is_meant(row, filters)]


def _is_meant(row: dict[str, Any], filters: Filters) -> bool:
    has_code = not filters.code or not set(filters.code).isdisjoint(row["codes"].split())
    return has_code and (not filters.sender or (row["sender"] or UNKNOWN_SENDER) in filters.sender)
