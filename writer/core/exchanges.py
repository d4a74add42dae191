"""One `$batch` request: what its reply says to each part, and to the identity that sent it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from writer.core.batch import (
    NUMBER,
    Answer,
    ChangeSet,
    Failed,
    Malformed,
    NotReached,
    Request,
    decode,
    is_multipart,
    paired,
)
from writer.core.replies import Judgement, Kind, Meaning, Sent, judge, lost, never_sent, retry_after, sent_with

Part = Request | ChangeSet


@dataclass(frozen=True, slots=True)
class PartReply:
    """What became of one part of a batch. `answer` is None when the request as a whole got no batch reply."""

    judgement: Judgement
    answer: Answer | None = None

    @property
    def not_tried(self) -> bool:
        """The service stopped at an earlier part: nothing happened, and nothing is wrong with this one."""
        return isinstance(self.answer, NotReached)

    @property
    def may_have_landed(self) -> bool:
        """Nobody said that it was rolled back: there was no answer, or something before the CRM gave one."""
        status = self.judgement.status or 0
        not_the_crms = self.answer is None and not self.judgement.by_the_crm
        return self.judgement.meaning is Meaning.UNANSWERED or (not_the_crms and status >= 500)

    @property
    def failing(self) -> int | None:
        """The operation of a change set that failed, if the service named it."""
        return self.answer.index if isinstance(self.answer, Failed) else None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A reply per part, in order, and how the request as a whole went. `hint`: the reply's x-ms-dop-hint."""

    parts: tuple[PartReply, ...]
    whole: Judgement
    seconds: float
    hint: int | None = None

    @property
    def landed(self) -> int:
        """How many parts took effect or were answered."""
        return sum(1 for part in self.parts if part.judgement.kind is Kind.DONE)

    @property
    def for_pacing(self) -> Judgement:
        """Throttling may hide in a part, and how long it lasts in another one or outside of all. Any other trouble of
        a part is that of a plan, and holds up nobody else (W5).
        """
        throttled = [part.judgement for part in self.parts if part.judgement.kind is Kind.THROTTLED]
        if not throttled:
            done_but_wait = self.whole.kind is Kind.DONE and self.whole.retry_after is not None
            return replace(self.whole, retry_after=None) if done_but_wait else self.whole
        named = [one.retry_after for one in (*throttled, self.whole) if one.retry_after is not None]
        return replace(throttled[0], retry_after=max(named, default=None))


def same_for_all(
    parts: Sequence[Part], judgement: Judgement, seconds: float = 0.0, hint: int | None = None
) -> Exchange:
    """There was no batch reply."""
    return Exchange(tuple(PartReply(judgement) for _ in parts), judgement, seconds, hint)


def unencodable(parts: Sequence[Part]) -> Exchange:
    """A name or id of the plan would break a line: nothing was sent, nothing ever can be."""
    return same_for_all(parts, Judgement(Kind.PERMANENT, Meaning.INVALID))


def exchange_of(
    parts: Sequence[Part], status: int, headers: Mapping[str, str], body: bytes, *, seconds: float, now: float
) -> Exchange:
    """`headers` in lower case; `now` in seconds since 1970. A batch reply may come with the status of its first error;
    what it holds counts.
    """
    hint = dop_hint(headers)
    content_type = headers.get("content-type", "")
    if not is_multipart(content_type):
        # Success, but of what? It is read back.
        whole = lost() if 200 <= status < 300 else judge(status, headers, body, now=now)
        return same_for_all(parts, whole, seconds, hint)
    try:
        answers = paired(parts, decode(content_type, body))
    except Malformed:
        return same_for_all(parts, lost(), seconds, hint)
    whole = replace(
        judge(200, headers, b"", now=now), status=status, retry_after=retry_after(headers.get("retry-after"), now=now)
    )
    replies = tuple(
        _part_reply(part, answer, whole.request_id, now) for part, answer in zip(parts, answers, strict=True)
    )
    return Exchange(replies, whole, seconds, hint)


def dop_hint(headers: Mapping[str, str]) -> int | None:
    """How many requests at a time the service recommends."""
    raw = headers.get("x-ms-dop-hint", "")
    return int(raw) if NUMBER.fullmatch(raw) else None


def _part_reply(part: Part, answer: Answer, request_id: str | None, now: float) -> PartReply:
    match answer:
        case NotReached():
            return PartReply(never_sent(), answer)
        case Failed(failure, index):
            judgement = judge(failure.status, failure.headers, failure.body, sent=_sent(part, index), now=now)
            return PartReply(judgement, answer)
        case _:
            return PartReply(Judgement(Kind.DONE, Meaning.LANDED, 204, "", request_id), answer)


def _sent(part: Part, index: int | None) -> Sent:
    """The failing operation's precondition. If the service did not say which failed, any etag there is suspected: what
    follows is reading back, which harms nobody.
    """
    if isinstance(part, Request):
        return sent_with(part)
    if index is not None:
        return sent_with(part.requests[index])
    carried = {sent_with(request) for request in part.requests}
    return Sent.MUST_MATCH if Sent.MUST_MATCH in carried else max(carried, default=Sent.NOTHING)
