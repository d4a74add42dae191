"""The edge to the rows of the call queue: pages of them, one, and one written under its etag, with the lost replies.

It signs in as every command does, with the first identity. It waits as long as a 429 says, and tries again what never
arrived; a write that may have landed is never followed by another one before the row was read back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from ops.core.queue_item import QueueColumns, QueueItem, Whose
from ops.crm import client_of, ours, sign_in_sentence
from ops.errors import CrmRefuses, CrmUnavailable
from ops.settings import Settings
from planner import mapping as mappings
from planner.errors import MappingUnfit
from runtime.errors import Misconfigured
from schemas.records import Value
from writer.core.replies import Judgement, Kind, Meaning, Sent, judge
from writer.core.retry import PAUSES
from writer.dataverse import rows
from writer.dataverse.client import DataverseClient, HttpReply, HttpRequest
from writer.dataverse.mapping_verification import OTHER_ENVIRONMENT
from writer.errors import NeverSent, SignInFailed, SignInRefused, Unanswered

T = TypeVar("T")
PAGE = 100
"""Rows in one answer: enough for most calls of a command, and a small answer."""
LONGEST_WAIT_S = 60.0
"""A 429 that says longer ends the command: its caller waits that long before the next one."""


class NotKnown(CrmUnavailable):
    """A write may have landed, and Dataverse does not say. Only who knows the mark of the claim can find out later."""


class OtherEnvironment(Misconfigured):
    """The mapping is wrong, and one thing that is wrong is that it was made for another environment."""


def queue_columns(file: Path, environment: str) -> QueueColumns:
    """Of the reviewed mapping. Raises Misconfigured with everything that is wrong or missing in it."""
    try:
        mapping = mappings.read(file)
        planned = mappings.resolve(mapping).queue_item
    except MappingUnfit as error:
        raise Misconfigured([f"{file}: {each}" for each in error.problems]) from None
    fields = mapping.fields
    problems = []
    if "queue.phone_number" not in fields:
        problems.append("fields.queue.phone_number: missing; the call side needs the column of the number to dial")
    if is_other := mapping.meta.environment not in (None, mappings.environment_mark(environment)):
        problems.append(ours(str(OTHER_ENVIRONMENT)))
    if problems:
        raise (OtherEnvironment if is_other else Misconfigured)([f"{file}: {each}" for each in problems])

    def name(concept: str) -> str | None:
        return fields[concept].logical_name if concept in fields else None

    # written by plans, and not a field of the baseline
    without_a_field = (planned.last_disposition.name, planned.last_error.name, planned.next_attempt_at)
    return QueueColumns(
        entity_set=planned.entity_set,
        primary_id=mapping.entities["queue_item"].primary_id,
        created_at=rows.CREATED_ON,
        changed_at=rows.MODIFIED_ON,
        status=planned.status,
        statuses=planned.statuses,
        last_disposition=planned.last_disposition.name,
        last_disposition_length=planned.last_disposition.limit,
        last_session_id=planned.last_session_id,
        attempt_count=planned.attempt_count,
        do_not_call=planned.do_not_call,
        phone_number=fields["queue.phone_number"].logical_name,
        timezone=name("queue.timezone"),
        max_attempts=name("queue.max_attempts"),
        next_attempt_at=planned.next_attempt_at,
        account=name("queue.account"),
        campaign=name("queue.campaign"),
        campaign_table=fields["queue.campaign"].target if "queue.campaign" in fields else None,
        owner_override=mapping.task_owner_override_field,
        preserved=tuple(dict.fromkeys((*mapping.preserve_if_present, *filter(None, without_a_field)))),
    )


class QueueTable:
    """The call queue of one environment."""

    def __init__(self, client: DataverseClient, columns: QueueColumns) -> None:
        self._client = client
        self.columns = columns

    @classmethod
    @asynccontextmanager
    async def of(cls, settings: Settings, columns: QueueColumns) -> AsyncIterator[QueueTable]:
        """Raises Misconfigured."""
        client = client_of(settings)
        try:
            yield cls(client, columns)
        finally:
            await client.close()

    async def pages(self, conditions: list[str]) -> AsyncIterator[list[QueueItem]]:
        """Items that meet every condition, in the order in which they are called. Raises CrmUnavailable, CrmRefuses."""
        asked: HttpRequest | None = rows.many(self.columns.entity_set, conditions, self.columns.order, page_size=PAGE)
        while asked is not None:
            reply = await self._asked(asked, self.columns.entity_set)
            if reply is None:
                raise CrmRefuses(_no_table(self.columns.entity_set))
            page = _read(rows.read_page, reply.body)
            yield [self._item(row) for row in page.rows]
            asked = page.after(asked)

    async def listed(self, conditions: list[str]) -> AsyncIterator[QueueItem]:
        async for page in self.pages(conditions):
            for item in page:
                yield item

    async def item(self, queue_item: str) -> QueueItem | None:
        """None if there is not such an item."""
        reply = await self._asked(rows.one(self.columns.entity_set, queue_item), self.columns.entity_set)
        return None if reply is None else self._item(_read(rows.read_row, reply.body))

    async def has_campaign(self, campaign: str) -> bool:
        """Whether the campaign exists, with items or without."""
        table = str(self.columns.campaign_table)
        found = await self._asked(rows.entity_set_of(table), table)
        if found is None:
            raise CrmRefuses(_no_table(table))
        entity_set = _read(rows.read_entity_set, found.body)
        return await self._asked(rows.one(entity_set, campaign), entity_set) is not None

    async def write(
        self, item: QueueItem, values: Mapping[str, Value], judged: Callable[[QueueItem | None], Whose]
    ) -> QueueItem | None:
        """Writes under the item's etag: the row as it is then, or None if somebody else was faster. What had no clear
        answer is read back and `judged`; it is only ever followed by the same write. Raises CrmUnavailable when nobody
        knows whether it landed, CrmRefuses."""
        request = rows.update(self.columns.entity_set, item.id, item.etag, values)
        unclear, why = False, ""
        for pause in (0.0, *PAUSES):
            await asyncio.sleep(pause)
            with _unclear_as_not_known(unclear):
                answer = await self._sent(request, Sent.MUST_MATCH)
            if isinstance(answer, HttpReply):
                return self._item(_read(rows.read_row, answer.body))
            moved, why = answer.meaning in (Meaning.CHANGED, Meaning.GONE), _why(answer)
            if moved and not unclear:
                return None
            if not moved and not _may_have_landed(answer):
                continue
            unclear = True
            with _unclear_as_not_known(unclear):
                row = await self.item(item.id)
            match judged(row):
                case Whose.OURS:
                    return row
                case Whose.OTHERS:
                    return None
                case Whose.NOT_YET:
                    continue
        raise NotKnown(why) if unclear else CrmUnavailable(why)

    def _item(self, row: rows.Row) -> QueueItem:
        if absent := [name for name in self.columns.all if name not in row.columns]:
            what = f"Dataverse shows no column {', '.join(absent)} in {self.columns.entity_set}"
            raise CrmRefuses(f"{what}: correct the mapping, or let this application user read them (column security)")
        return QueueItem(self.columns, row.etag, row.columns, row.names)

    async def _asked(self, request: HttpRequest, what: str) -> HttpReply | None:
        """The answer to a question; None if the one record that it asks for is not there. `what`: table or set."""
        why = ""
        for pause in (0.0, *PAUSES):
            await asyncio.sleep(pause)
            answer = await self._sent(request, Sent.NOTHING)
            if isinstance(answer, HttpReply):
                return answer
            if answer.kind is Kind.PERMANENT:
                if answer.code == _NO_SUCH_RECORD:
                    return None
                raise CrmRefuses(_no_table(what))
            why = _why(answer)
        raise CrmUnavailable(why)

    async def _sent(self, request: HttpRequest, sent: Sent) -> HttpReply | Judgement:
        """The reply if it is done; otherwise what to make of it. Waits out throttling. Raises CrmRefuses."""
        waited = 0.0
        while True:
            try:
                reply = await self._client.send(request)
            except SignInFailed as failure:
                refused = isinstance(failure, SignInRefused)
                raise (CrmRefuses if refused else CrmUnavailable)(sign_in_sentence(failure.fault)) from None
            except NeverSent as failure:
                return Judgement(Kind.TRANSIENT, Meaning.TROUBLE, advice=ours(failure.advice))
            except Unanswered:
                return Judgement(Kind.AMBIGUOUS, Meaning.UNANSWERED)
            judged = judge(reply.status, reply.headers, reply.body, sent=sent, now=time.time())
            if judged.kind is Kind.DONE:
                return reply
            if judged.kind is not Kind.THROTTLED:
                return _permanent_raises(judged)
            wait = judged.retry_after or PAUSES[-1]
            waited += wait
            if waited > LONGEST_WAIT_S:
                raise CrmUnavailable(f"Dataverse asks to wait {wait:.0f} s before the next request (429)")
            await asyncio.sleep(wait)


@contextmanager
def _unclear_as_not_known(unclear: bool) -> Iterator[None]:
    """Whatever ends the writing after a request without a clear answer, that request may have landed."""
    try:
        yield
    except (CrmUnavailable, CrmRefuses) as error:
        if unclear:
            raise NotKnown(str(error)) from None
        raise


_NOT_FOUND = 404
_NO_SUCH_RECORD = "0x80040217"
"""Another 404 is about the table."""


def _no_table(name: str) -> str:
    return f"Dataverse has no table {name}: correct the mapping; `writeback doctor` lists every gap"


def _may_have_landed(answer: Judgement) -> bool:
    """Everything that is not known to have stopped before the service took it."""
    return answer.kind is not Kind.TRANSIENT or answer.status is not None


def _permanent_raises(judged: Judgement) -> Judgement:
    if judged.kind is not Kind.PERMANENT or judged.status == _NOT_FOUND:
        if judged.meaning is Meaning.SIGN_IN:
            raise CrmRefuses(f"Dataverse does not accept this application user (status {judged.status}); see: doctor")
        return judged
    code = f" {judged.code}" if judged.code else ""
    what = f"Dataverse refuses (status {judged.status}{code})"
    if judged.meaning is Meaning.NOT_ALLOWED:
        lacks = judged.privilege or "a privilege on the call queue or on the campaign's table"
        raise CrmRefuses(f"{what}: the application user lacks {lacks}; give it to its security role")
    raise CrmRefuses(f"{what}: what the mapping names does not fit the tables; `writeback doctor` lists every gap")


def _why(answer: Judgement) -> str:
    if answer.status is not None:
        return f"Dataverse answers {answer.status}"
    return answer.advice or "Dataverse cannot be reached"


def _read(read: Callable[[bytes], T], body: bytes) -> T:
    try:
        return read(body)
    except rows.NotRows as error:
        what = f"what answers at Dataverse's address does not answer as Dataverse does: {error}"
        raise CrmUnavailable(f"{what}; check WRITEBACK_DATAVERSE__URL, and any proxy before it") from None
