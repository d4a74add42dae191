"""A job: a change to many records, made part by part, that goes on after an interruption. No I/O.

- Its items are fixed when it begins, and recorded before anything is sent: first what it is about, then its items part
  by part, all under the name of the job.
- A job that was cut while it was recorded lacks items, and says so: they are selected again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ops.core.actions import Action, Asked
from ops.core.verdicts import CommandVerdict, exit_of


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKind:
    name: str
    """Of the action that begins a job, and in every sentence about one: "replay"."""
    command: str
    of: str
    """What its items are: "sessions". The first record counts them under this name."""
    settled: str
    """What is said of items that are settled, behind their count."""
    part: int
    """Items in one record of the job, and sent between two looks at the topics."""

    @property
    def listing(self) -> str:
        """The action that only lists items."""
        return f"{self.name} {self.of}"

    def going_on(self, job: str) -> str:
        return f"`{self.command} --job {job} --for-real`"

    def begun(self, person: Asked, job: str, *, count: int, details: Mapping[str, Any], at: str) -> Action:
        """The first record of a job."""
        return person.action(self.name, about=job, count=count, at=at, details=details)

    def items(self, person: Asked, job: str, part: int, items: Sequence[str], *, at: str) -> Action:
        details = {"part": part, "items": list(items)}
        return person.action(self.listing, about=job, count=len(items), at=at, details=details)

    def lacks(self, job: str, details: Mapping[str, Any], recorded: int) -> str | None:
        """What to do about items that were never recorded; None if all were. `details`: of the first record."""
        if not (missing := details[self.of] - recorded):
            return None
        return (
            f"{self.name} {job} was interrupted before it was recorded whole, and lacks {missing:,} of its {self.of}: "
            f"give the command again with the same selection ({details['selected']})"
        )


class JobProgress(Protocol):
    """What came of the items of a job so far."""

    @property
    def total(self) -> int: ...
    @property
    def settled(self) -> int: ...
    @property
    def to_send(self) -> int: ...
    @property
    def needs_a_person(self) -> bool: ...
    def counts(self) -> list[tuple[str, int]]: ...
    def as_json(self, job: str) -> dict[str, Any]: ...


def exit_of_job(came: JobProgress) -> CommandVerdict:
    """A job that was interrupted goes on only when a person calls for that."""
    return exit_of(act=came.needs_a_person or came.to_send > 0, wait=came.settled < came.total)


def counted(sentences: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Each sentence once, with how many items it is said of; the most first."""
    found = Counter[str]()
    for sentence, items in sentences:
        found[sentence] += items
    return sorted(found.items(), key=lambda one: (-one[1], one[0]))
