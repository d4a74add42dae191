"""Finding the next items of the call queue, claiming them and giving them back: what is asked of the CRM, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ops.core.eligibility import CallingRules, RuleVerdict, failing, judge
from ops.core.queue_item import QueueItem, after_claim, after_release, claim, mark_begins, release, scattered
from ops.queue_table import NotKnown, QueueTable
from schemas.records import QueueStatus
from writer.dataverse import rows


class UnknownCampaign(Exception):
    """Dataverse has no such campaign. One without items is known, and empty."""


@dataclass(frozen=True, slots=True)
class Found:
    """An item with the verdict of the six rules, and when it was read."""

    item: QueueItem
    findings: tuple[RuleVerdict, ...]
    at: datetime

    @property
    def eligible(self) -> bool:
        return not failing(self.findings)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Either one item, or the next ones of a campaign."""

    campaign: str | None = None
    queue_item: str | None = None
    count: int = 1


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class _Race:
    """How one pass over the ready items goes, beside other callers. `losses`: how often they were faster."""

    raced: bool
    losses: int = 0

    @property
    def is_lost(self) -> bool:
        """What was read is old by now."""
        return self.losses >= _LOSSES_OF_A_PASS


@dataclass(frozen=True, slots=True)
class Taking:
    """`on_ineligible` hears of every item that was looked at and may not be called."""

    table: QueueTable
    rules: CallingRules
    on_ineligible: Callable[[Found], None]
    now: Callable[[], datetime] = _now

    async def next(self, wanted: Wanted) -> AsyncIterator[Found]:
        """Eligible items, in order. Raises UnknownCampaign, CrmUnavailable, CrmRefuses."""
        left = wanted.count
        async for page in self._pages(wanted):
            for found in filter(None, map(self._judged, page)):
                yield found
                if not (left := left - 1):
                    return

    async def claims(self, wanted: Wanted, token: str, *, again: bool) -> AsyncIterator[Found]:
        """Claimed items, each as it is handed out. `again`: an earlier call with this token may have claimed some, and
        those come first. Raises as `next` does; CrmUnavailable names the item that may be claimed."""
        left = wanted.count
        async for found in self._claims(wanted, token, again=again):
            yield found
            if not (left := left - 1):
                return

    async def _claims(self, wanted: Wanted, token: str, *, again: bool) -> AsyncIterator[Found]:
        """As many as there are."""
        if again:
            async for item in self._claimed_with(token):
                yield Found(item, self._findings(item, QueueStatus.READY), self.now())
        raced = False
        for _ in range(_MOST_PASSES):
            race = _Race(raced)
            async for page in self._pages(wanted):
                async for found in self._claims_of(page, token, race):
                    yield found
                if race.is_lost:
                    break
            raced = raced or race.losses > 0
            if not race.losses or wanted.queue_item is not None:
                return

    async def _claims_of(self, page: Sequence[QueueItem], token: str, race: _Race) -> AsyncIterator[Found]:
        waiting = deque(scattered(page, token) if race.raced else page)
        while waiting and not race.is_lost:
            if (found := self._judged(waiting.popleft())) is None:
                continue
            taken = await self._claimed(found.item, token)
            if taken is not None:
                yield Found(taken, found.findings, self.now())
                continue
            race.raced, race.losses = True, race.losses + 1
            waiting = deque(scattered(waiting, token))

    async def released(self, item: QueueItem) -> bool:
        """Gives a claimed item back, under its etag. False if somebody changed it since it was read."""
        written = await self.table.write(item, release(item), lambda row: after_release(item, row))
        return written is not None

    async def with_token(self, token: str) -> list[QueueItem]:
        return [item async for item in self._claimed_with(token)]

    async def in_progress(self, campaign: str | None, queue_item: str | None) -> AsyncIterator[QueueItem]:
        """Claimed items, one or all or those of a campaign."""
        if queue_item is not None:
            item = await self.table.item(queue_item)
            if item is not None and item.status is QueueStatus.IN_PROGRESS:
                yield item
            return
        columns = self.table.columns
        conditions = [rows.equals(columns.status, columns.statuses[QueueStatus.IN_PROGRESS])]
        if campaign is not None:
            conditions.append(rows.links_to(str(columns.campaign), campaign))
        async for item in self.table.listed(conditions):
            yield item

    async def _pages(self, wanted: Wanted) -> AsyncIterator[list[QueueItem]]:
        """The item, or those of the campaign that are ready and due, in order."""
        if wanted.queue_item is not None:
            item = await self.table.item(wanted.queue_item)
            yield [] if item is None else [item]
            return
        seen = False
        async for page in self.table.pages(self._ready(str(wanted.campaign))):
            seen = seen or bool(page)
            yield page
        if not seen and not await self.table.has_campaign(str(wanted.campaign)):
            raise UnknownCampaign(wanted.campaign)

    def _judged(self, item: QueueItem) -> Found | None:
        """None if it may not be called now."""
        found = Found(item, self._findings(item, item.status), self.now())
        if not found.eligible:
            self.on_ineligible(found)
        return found if found.eligible else None

    def _ready(self, campaign: str) -> list[str]:
        columns = self.table.columns
        due = [rows.empty_or_past(columns.next_attempt_at, self.now())] if columns.next_attempt_at else []
        ready = rows.equals(columns.status, columns.statuses[QueueStatus.READY])
        return [ready, rows.links_to(str(columns.campaign), campaign), *due]

    async def _claimed(self, item: QueueItem, token: str) -> QueueItem | None:
        written = claim(item, token, self.now())
        try:
            return await self.table.write(item, written, lambda row: after_claim(written, item.etag, row))
        except NotKnown as error:
            raise NotKnown(
                f"queue item {item.id} may be claimed, and nobody knows: {error}. Call again with --token {token}: it "
                f"is returned then. Or give it back: writeback release --token {token}"
            ) from None

    async def _claimed_with(self, token: str) -> AsyncIterator[QueueItem]:
        columns = self.table.columns
        claimed = rows.equals(columns.status, columns.statuses[QueueStatus.IN_PROGRESS])
        async for item in self.table.listed([claimed, rows.begins_with(columns.last_disposition, mark_begins(token))]):
            if item.mark is not None and item.mark.token == token:
                yield item

    def _findings(self, item: QueueItem, status: QueueStatus | None) -> tuple[RuleVerdict, ...]:
        return judge(replace(item.facts, status=status), self.rules, self.now())


_LOSSES_OF_A_PASS = 3
"""After these, what is ready is read again."""
_MOST_PASSES = 50
"""Of one claim over the ready items, each after others were faster: only a queue that gives nothing away is asked this
often."""
