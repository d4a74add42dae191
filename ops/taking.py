"""Finding the next items of the call queue, claiming them and giving them back: what is asked of the CRM, in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ops.core.eligibility import CallingRules, Finding, failing, judge
from ops.core.queue_item import QueueItem, after_claim, after_release, claim, mark_begins, release
from ops.queue_table import NotKnown, QueueTable
from schemas.records import QueueStatus
from writer.dataverse import rows


class UnknownCampaign(Exception):
    """Dataverse has no such campaign. One without items is known, and empty."""


@dataclass(frozen=True, slots=True)
class Found:
    """An item with the verdict of the six rules, and when it was read."""

    item: QueueItem
    findings: tuple[Finding, ...]
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
        async for found in self._eligible(wanted):
            yield found
            left -= 1
            if not left:
                return

    async def claims(self, wanted: Wanted, token: str, *, again: bool) -> AsyncIterator[Found]:
        """Claimed items, each as it is handed out. `again`: an earlier call with this token may have claimed some, and
        those come first. Raises as `next` does; CrmUnavailable names the item that may be claimed."""
        left = wanted.count
        if again:
            async for item in self._claimed_with(token):
                yield Found(item, self._findings(item, QueueStatus.READY), self.now())
                left -= 1
                if not left:
                    return
        for _ in range(_MOST_PASSES):
            raced = False
            async for found in self._eligible(wanted):
                taken = await self._claimed(found.item, token)
                if taken is None:
                    raced = wanted.queue_item is None
                    continue
                yield Found(taken, found.findings, self.now())
                left -= 1
                if not left:
                    return
            if not raced:
                return

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

    async def _eligible(self, wanted: Wanted) -> AsyncIterator[Found]:
        seen = False
        async for item in self._candidates(wanted):
            seen = True
            found = Found(item, self._findings(item, item.status), self.now())
            if found.eligible:
                yield found
            else:
                self.on_ineligible(found)
        if not seen and wanted.campaign is not None and not await self.table.has_campaign(wanted.campaign):
            raise UnknownCampaign(wanted.campaign)

    async def _candidates(self, wanted: Wanted) -> AsyncIterator[QueueItem]:
        if wanted.queue_item is not None:
            item = await self.table.item(wanted.queue_item)
            if item is not None:
                yield item
            return
        async for item in self.table.listed(self._ready(str(wanted.campaign))):
            yield item

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

    def _findings(self, item: QueueItem, status: QueueStatus | None) -> tuple[Finding, ...]:
        return judge(replace(item.facts, status=status), self.rules, self.now())


_MOST_PASSES = 50
"""Of one claim over the ready items, each after others were faster at some: only a queue that gives away nothing at all
is asked this often."""
