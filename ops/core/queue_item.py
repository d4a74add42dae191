"""A queue item as the call side needs it: what the rules ask, the baseline, the mark of a claim, a blocked outcome.

A claim sets the status `in_progress` under the row's etag, and leaves a mark where the reason of the last transition
is: `claimed TOKEN TIME after REASON`. The mark is what makes a claim safe when its reply is lost:

C1  A row that shows this claim's mark was claimed by it; one that shows another's was not, whatever else it shows.
C2  A row that still has the etag under which the claim was sent may yet be claimed by that request. Only the very same
    write is sent again: one of the two lands.
C3  A claim that was released leaves the row as it was before: ready, with the reason that it had.
C4  An item's claim is as old as its mark says. Without a mark (another program claimed it) it is as old as the row's
    last change.

No I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from hashlib import blake2b
from typing import Any
from uuid import UUID, uuid5

from ops.core.eligibility import CallFacts, RuleVerdict, failing, letters
from planner.core.normalisation import phone_number
from schemas.records import (
    Account,
    Baseline,
    CallOutcome,
    Disposition,
    EligibilityRule,
    QueueStatus,
    Value,
)

TOKEN = re.compile(r"[A-Za-z0-9-]{8,40}")
"""Of a claim; it is written to the row and shown, so it says nothing about a person."""
LONGEST_MARK = 80
"""Characters that a mark needs, the reason from before aside."""
_MARK = re.compile(r"claimed ([A-Za-z0-9-]{8,40}) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)(?: after (.+))?", re.DOTALL)
_SPACE = UUID("9d0c2f0e-6a55-4f43-9b55-0a2b9b6f3c11")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueColumns:
    """One tenant's names for what the queue side reads and writes; None for a concept that is not mapped."""

    entity_set: str
    primary_id: str
    created_at: str
    changed_at: str
    status: str
    statuses: Mapping[QueueStatus, int]
    last_disposition: str
    last_disposition_length: int
    last_session_id: str
    attempt_count: str
    do_not_call: str
    phone_number: str
    timezone: str | None = None
    max_attempts: str | None = None
    next_attempt_at: str | None = None
    account: str | None = None
    campaign: str | None = None
    campaign_table: str | None = None
    owner_override: str | None = None
    preserved: tuple[str, ...] = ()
    """Columns that the outcome must carry back and that are not fields of its baseline."""

    @property
    def order(self) -> tuple[str, ...]:
        """Of the next item to call: never tried first, then the longest due, then the oldest, then by id."""
        return (*((self.next_attempt_at,) if self.next_attempt_at else ()), self.created_at, self.primary_id)

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that a row must have."""
        named = (
            self.primary_id, self.created_at, self.changed_at, self.status, self.last_disposition, self.last_session_id,
            self.attempt_count, self.do_not_call, self.phone_number, self.timezone, self.max_attempts,
            self.next_attempt_at, self.account, self.campaign, self.owner_override, *self.preserved,
        )  # fmt: skip
        return tuple(each for each in named if each)


@dataclass(frozen=True, slots=True)
class Mark:
    """What a claim leaves on the row. `before`: the reason of the last transition that it takes the place of."""

    token: str
    at: datetime
    before: str | None

    def text(self, length: int) -> str:
        """The reason from before is left out where it does not fit whole: half of it is not put back."""
        mark = f"claimed {self.token} {self.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        full = f"{mark} after {self.before}" if self.before else mark
        return full if len(full.encode("utf-16-le")) // 2 <= length else mark


def claim_mark(value: object) -> Mark | None:
    """What a column of a row holds, if that is the mark of a claim."""
    found = _MARK.fullmatch(value) if isinstance(value, str) else None
    return found and Mark(found[1], datetime.fromisoformat(found[2]), found[3])


def mark_begins(token: str) -> str:
    """The beginning of every mark with this token, and of no other's."""
    return f"claimed {token} "


@dataclass(frozen=True, slots=True)
class QueueItem:
    """A row that was read, with the etag it had then. `names`: what people see in its lookups."""

    of: QueueColumns
    etag: str
    columns: Mapping[str, Value]
    names: Mapping[str, str]

    @property
    def id(self) -> str:
        return str(self.columns[self.of.primary_id]).lower()

    @property
    def status(self) -> QueueStatus | None:
        held = self.columns[self.of.status]
        return next((status for status, value in self.of.statuses.items() if value == held), None)

    @property
    def mark(self) -> Mark | None:
        return claim_mark(self.columns[self.of.last_disposition])

    @property
    def claimed_at(self) -> datetime:
        """When it was claimed, if its status says that it is (C4)."""
        mark = self.mark
        return mark.at if mark else datetime.fromisoformat(str(self.columns[self.of.changed_at]))

    @property
    def facts(self) -> CallFacts:
        most = self._whole(self.of.max_attempts)
        return CallFacts(
            phone_number=self._text(self.of.phone_number),
            timezone=(self._text(self.of.timezone) or "").strip() or None,
            do_not_call=self.columns[self.of.do_not_call] is True,
            attempts=self._whole(self.of.attempt_count) or 0,
            max_attempts=most,
            status=self.status,
        )

    @property
    def campaign_id(self) -> str | None:
        return self._text(self.of.campaign)

    @property
    def account(self) -> Account | None:
        linked = self._text(self.of.account)
        return Account(id=linked, name=self.names.get(str(self.of.account), "")) if linked else None

    def baseline(self, captured_at: datetime) -> Baseline:
        """What the outcome carries back: everything that the planner and the writer compare with the row."""
        return Baseline(
            captured_at=captured_at,
            etag=self.etag,
            status=self.status,
            last_session_id=self._text(self.of.last_session_id),
            attempt_count=self._whole(self.of.attempt_count),
            do_not_call=None if (flag := self.columns[self.of.do_not_call]) is None else flag is True,
            preserved={name: self.columns[name] for name in self.of.preserved},
        )

    def as_json(self, captured_at: datetime, findings: Sequence[RuleVerdict]) -> dict[str, Any]:
        """For a call system: what to dial, and what its outcome has to carry back, in the record's own words."""
        account, baseline = self.account, self.baseline(captured_at)
        return {
            "queue_item_id": self.id,
            "campaign_id": self.campaign_id,
            "eligible": not failing(findings),
            "failing_rules": list(failing(findings)),
            "rules": [{"rule": each.rule, "passed": each.passed, "text": each.text} for each in findings],
            "phone_number": None if (held := self._text(self.of.phone_number)) is None else phone_number(held),
            "timezone": self._text(self.of.timezone),
            "account": account and {"id": account.id, "name": account.name},
            "owner_override": self._text(self.of.owner_override),
            "next_attempt_at": self._text(self.of.next_attempt_at),
            "baseline": {
                "captured_at": iso_ms(baseline.captured_at),
                "etag": baseline.etag,
                "status": baseline.status,
                "last_session_id": baseline.last_session_id,
                "attempt_count": baseline.attempt_count,
                "do_not_call": baseline.do_not_call,
                "preserved": dict(baseline.preserved),
            },
        }

    def _text(self, column: str | None) -> str | None:
        held = self.columns[column] if column else None
        return None if held is None else str(held)

    def _whole(self, column: str | None) -> int | None:
        held = self.columns[column] if column else None
        return held if isinstance(held, int) and not isinstance(held, bool) else None


def iso_ms(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def claim(item: QueueItem, token: str, now: datetime) -> dict[str, Value]:
    """The columns that take the item, under its etag."""
    held = item.columns[item.of.last_disposition]
    mark = Mark(token, now, str(held) if held else None)
    return {
        item.of.status: item.of.statuses[QueueStatus.IN_PROGRESS],
        item.of.last_disposition: mark.text(item.of.last_disposition_length),
    }


def scattered(items: Iterable[QueueItem], token: str) -> list[QueueItem]:
    """In an order of this claim's own, the same each time. Callers that race for the first item would race for every
    other one too, in the same order, and each lost race is a request that counts against the service's limits."""
    return sorted(items, key=lambda each: blake2b(f"{token} {each.id}".encode(), digest_size=8).digest())


def release(item: QueueItem) -> dict[str, Value]:
    """The columns that give the item back, under its etag (C3). A reason without a mark is left alone."""
    ready: dict[str, Value] = {item.of.status: item.of.statuses[QueueStatus.READY]}
    mark = item.mark
    return ready if mark is None else {**ready, item.of.last_disposition: mark.before}


class Whose(Enum):
    """Of a write under an etag that had no clear answer, what the row read afterwards says."""

    OURS = "it landed"
    OTHERS = "it did not land and never will: the row has moved on, or is gone"
    NOT_YET = "it has not landed: the very same write may be sent again"


def after_claim(written: Mapping[str, Value], sent_under: str, row: QueueItem | None) -> Whose:
    """`written`: what the claim sets (C1, C2)."""
    if row is None:
        return Whose.OTHERS
    if all(row.columns[name] == value for name, value in written.items()):
        return Whose.OURS
    return Whose.NOT_YET if row.etag == sent_under else Whose.OTHERS


def after_release(claimed: QueueItem, row: QueueItem | None) -> Whose:
    """What became of a release. A row on which the claim is no longer to be seen was released, by us or by somebody."""
    if row is None or row.status is not QueueStatus.IN_PROGRESS or row.mark != claimed.mark:
        return Whose.OURS
    return Whose.NOT_YET if row.etag == claimed.etag else Whose.OTHERS


def says_so_already(item: QueueItem, findings: Sequence[RuleVerdict]) -> bool:
    """Whether the row shows already that these very rules failed."""
    said = str(item.columns[item.of.last_disposition] or "")
    return said == f"blocked_by_eligibility: {letters(failing(findings))}"


def blocked_outcome(item: QueueItem, findings: Sequence[RuleVerdict], now: datetime) -> CallOutcome:
    """No call was placed, and why. The same row with the same failing rules gives the same outcome all day (UTC), byte
    for byte: who asks every second publishes one session and not thousands."""
    rules: tuple[EligibilityRule, ...] = failing(findings)
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    changed = datetime.fromisoformat(str(item.columns[item.of.changed_at])).astimezone(UTC)
    at = max(midnight, min(changed, now.astimezone(UTC)))
    name = f"{item.id} {item.etag} {letters(rules)} {iso_ms(at)}"
    return CallOutcome(
        session_id=f"blocked-{uuid5(_SPACE, name)}",
        queue_item_id=item.id,
        campaign_id=item.campaign_id,
        disposition=Disposition.BLOCKED,
        failing_rules=rules,
        started_at=at,
        ended_at=at,
        baseline=item.baseline(at),
    )
