"""Several application users as one way to Dataverse, and `$batch` as the only kind of request on it.

Each identity has its own token, connections and pacing: a Retry-After holds up whoever was told to wait, and nobody
else. A plan is not tied to an identity, since preconditions and record ids carry the safety.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from writer.core.batch import (
    Answer,
    ChangeSet,
    Failed,
    Malformed,
    NotReached,
    Request,
    decode,
    encode,
    is_multipart,
    paired,
)
from writer.core.pacing import Pacer
from writer.core.replies import (
    Judgement,
    Kind,
    Meaning,
    Sent,
    judge,
    lost,
    never_sent,
    not_signed_in,
    retry_after,
    sent_with,
)
from writer.core.sign_in import SignInFault, SignInTrouble
from writer.dataverse.client import Dataverse, NeverSent, Reply, Unanswered
from writer.dataverse.client import Request as HttpRequest
from writer.dataverse.identity import SignInFailed
from writer.metrics import Metrics

Part = Request | ChangeSet

_NOT_DATAVERSE = (
    "The address answers, but not as Dataverse does. Check WRITER_DATAVERSE__URL, and what stands before the CRM."
)
_LONGEST_NAP_S = 1.0
_REST_S = 15.0
_LONG_S = 10.0
"""A wait from which on it is worth a line."""


@dataclass(frozen=True, slots=True)
class PartReply:
    """What became of one part of a batch. `answer` is None when the request as a whole got no batch reply."""

    judgement: Judgement
    answer: Answer | None = None

    @property
    def not_tried(self) -> bool:
        """The service stopped at an earlier part: nothing happened, and nothing is wrong with this one."""
        return isinstance(self.answer, NotReached)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One `$batch` request: a reply per part, in order, and how the request as a whole went."""

    parts: tuple[PartReply, ...]
    whole: Judgement
    seconds: float


@dataclass
class Channel:
    """One identity. `resting_until`: its sign-in failed, and others may do its work (monotonic seconds)."""

    dataverse: Dataverse
    pacer: Pacer
    resting_until: float = -math.inf
    signed_in: bool = False
    fault: SignInFault | None = None
    """What is wrong with its sign-in at present."""


@dataclass(frozen=True)
class Slot:
    """The right to send one request now. It must be used."""

    channel: Channel
    started: float


class Pool:
    """`clock` in monotonic seconds."""

    def __init__(
        self,
        channels: Sequence[Channel],
        metrics: Metrics,
        *,
        api_path: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.channels = tuple(channels)
        self._metrics = metrics
        for channel in self.channels:
            metrics.expect(channel.dataverse.name)
        self._api_path = api_path
        self._clock = clock
        self._replied = asyncio.Event()
        self._turns = asyncio.Lock()

    def room(self) -> int:
        """How many requests could go out now."""
        now = self._clock()
        return sum(channel.pacer.room(now) for channel in self.channels)

    async def slot(self) -> Slot:
        """Waits until some identity may send. Of several, the one with most room.

        First come, first served, or under a backlog what one plan still has to ask would be overtaken for ever by the
        requests that others begin (W5).
        """
        async with self._turns:
            return await self._free_slot()

    async def _free_slot(self) -> Slot:
        while True:
            now = self._clock()
            awake = [c for c in self.channels if c.resting_until <= now] or self.channels
            asked = [(channel.pacer.ask(now), -channel.pacer.room(now), n) for n, channel in enumerate(awake)]
            free = [(room, n) for at, room, n in asked if at is None]
            if free:
                channel = awake[min(free)[1]]
                channel.pacer.sent(now)
                return Slot(channel, now)
            soonest = min(math.inf if at is None else at for at, _, _ in asked)
            await self._nap(min(soonest - now, _LONGEST_NAP_S))

    def give_back(self, slot: Slot) -> None:
        """Nothing was sent with it after all."""
        slot.channel.pacer.replied(never_sent(), started=slot.started, now=slot.started, plans=0)
        self._replied.set()

    async def _nap(self, seconds: float) -> None:
        """Until a reply makes room, or the time is over."""
        self._replied.clear()
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                await self._replied.wait()
        except TimeoutError:
            return

    async def exchange(
        self,
        parts: Sequence[Part],
        *,
        operation: str,
        slot: Slot | None = None,
        traceparent: bytes | None = None,
        consistency: str | None = None,
    ) -> Exchange:
        """Sends one `$batch`. Never raises for what the service, the network or the sign-in does."""
        slot = slot or await self.slot()
        judgement, landed, hint = lost(), 0, None
        try:
            exchange, hint = await self._send(slot.channel, parts, traceparent, consistency)
            judgement = _heaviest(exchange)
            landed = sum(1 for part in exchange.parts if part.judgement.kind is Kind.DONE)
        finally:  # also when cancelled: the slot is given back, and what was sent has been counted
            now, before = self._clock(), slot.channel.pacer.held_until
            slot.channel.pacer.replied(judgement, started=slot.started, now=now, plans=landed, hint=hint)
            self._tell_waiting(slot.channel, judgement, slot.channel.pacer.held_until - max(before, now))
            self._replied.set()
        self._note(slot.channel, operation, judgement, exchange.seconds)
        return exchange

    async def greet(self, channel: Channel) -> Judgement:
        """Signs in and asks who we are: says whether this identity may work, and how much the service suggests."""
        started = self._clock()
        channel.pacer.sent(started)
        hint = None
        try:
            reply = await channel.dataverse.send(HttpRequest("GET", "WhoAmI"))
            judgement, hint = judge(reply.status, reply.headers, reply.body, now=time.time()), _hint(reply)
            if judgement.kind is Kind.DONE and not _is_who_am_i(reply):
                judgement = Judgement(Kind.TRANSIENT, Meaning.SUSPECT, reply.status, advice=_NOT_DATAVERSE)
        except (NeverSent, Unanswered) as error:
            judgement = never_sent(error.advice if isinstance(error, NeverSent) else "")
        except SignInFailed as failure:
            judgement = self._not_signed_in(channel, failure.fault)
        now = self._clock()
        channel.pacer.replied(judgement, started=started, now=now, plans=0, hint=hint)
        self._note(channel, "who_am_i", judgement, now - started)
        return judgement

    async def _send(
        self, channel: Channel, parts: Sequence[Part], traceparent: bytes | None, consistency: str | None
    ) -> tuple[Exchange, int | None]:
        headers = {"Prefer": "odata.continue-on-error"} | ({"Consistency": consistency} if consistency else {})
        started = self._clock()
        try:
            content_type, body = encode(parts, boundary=f"batch_{uuid.uuid4().hex}", api_path=self._api_path)
        except ValueError:  # a name or id of the plan would break a line: nothing was sent, nothing ever can be
            return self._all(parts, Judgement(Kind.PERMANENT, Meaning.INVALID), started), None
        request = HttpRequest("POST", "$batch", headers | {"Content-Type": content_type}, body, traceparent)
        try:
            reply = await channel.dataverse.send(request)
        except NeverSent as error:
            return self._all(parts, never_sent(error.advice), started), None
        except Unanswered:
            return self._all(parts, lost(), started), None
        except SignInFailed as failure:
            return self._all(parts, self._not_signed_in(channel, failure.fault), started), None
        return self._read(parts, reply, started), _hint(reply)

    def _not_signed_in(self, channel: Channel, fault: SignInFault) -> Judgement:
        """Told in the log when the cause changes, and counted each time."""
        self._metrics.sign_in_failures.labels(channel.dataverse.name, fault.trouble, fault.code).inc()
        if channel.fault != fault:
            channel.fault = fault
            log = structlog.get_logger("writer")
            log.error(
                "identity.not_signed_in", identity=channel.dataverse.name, cause=fault.trouble, what_to_do=str(fault)
            )
        return not_signed_in(fault)

    def _read(self, parts: Sequence[Part], reply: Reply, started: float) -> Exchange:
        """A batch reply may come with the status of its first error; what it holds counts."""
        content_type = reply.headers.get("content-type", "")
        if not is_multipart(content_type):
            if 200 <= reply.status < 300:
                return self._all(parts, lost(), started)  # success, but of what? read back
            whole = judge(reply.status, reply.headers, reply.body, now=time.time())
            return self._all(parts, whole, started)
        try:
            answers = paired(parts, decode(content_type, reply.body))
        except Malformed:
            return self._all(parts, lost(), started)
        replies = tuple(_part_reply(part, answer, reply) for part, answer in zip(parts, answers, strict=True))
        told = retry_after(reply.headers.get("retry-after"), now=time.time())
        whole = Judgement(Kind.DONE, Meaning.LANDED, reply.status, "", reply.request_id, told)
        return Exchange(replies, whole, self._clock() - started)

    def _all(self, parts: Sequence[Part], judgement: Judgement, started: float) -> Exchange:
        return Exchange(tuple(PartReply(judgement) for _ in parts), judgement, self._clock() - started)

    def _tell_waiting(self, channel: Channel, judgement: Judgement, longer: float) -> None:
        """Whoever wonders why nothing happens finds it in the log, once for each time the wait became longer."""
        if longer >= _LONG_S:
            waits = round(channel.pacer.held_until - self._clock())
            log = structlog.get_logger("writer")
            log.warning(
                "identity.told_to_wait",
                identity=channel.dataverse.name,
                status=judgement.status,
                told_seconds=judgement.retry_after,
                waits_seconds=waits,
            )

    def _note(self, channel: Channel, operation: str, judgement: Judgement, seconds: float) -> None:
        refused_sign_in = judgement.meaning is Meaning.SIGN_IN
        if refused_sign_in and judgement.status is not None:
            self._not_signed_in(channel, SignInFault(SignInTrouble.NOT_ACCEPTED, judgement.code))
        channel.signed_in = not refused_sign_in and (channel.signed_in or judgement.kind is Kind.DONE)
        if judgement.kind is Kind.DONE:
            channel.fault = None
        self._metrics.signed_in.labels(channel.dataverse.name).set(channel.signed_in)
        if refused_sign_in:
            channel.resting_until = self._clock() + _REST_S
        self._metrics.requests.labels(operation, judgement.kind).inc()
        self._metrics.request_seconds.labels(operation).observe(seconds)
        if judgement.kind is Kind.THROTTLED:
            wait = max(0.0, channel.pacer.held_until - self._clock())
            self._metrics.throttle_wait.labels(channel.dataverse.name).inc(wait)

    async def close(self) -> None:
        for channel in self.channels:
            await channel.dataverse.close()


def _part_reply(part: Part, answer: Answer, reply: Reply) -> PartReply:
    match answer:
        case NotReached():
            return PartReply(never_sent(), answer)
        case Failed(failure, index):
            judgement = judge(failure.status, failure.headers, failure.body, sent=_sent(part, index), now=time.time())
            return PartReply(judgement, answer)
        case _:
            return PartReply(Judgement(Kind.DONE, Meaning.LANDED, 204, "", reply.request_id), answer)


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


def _heaviest(exchange: Exchange) -> Judgement:
    """What pacing must hear: throttling may hide in a part, and how long it lasts in another one or outside of all.
    Any other trouble there is that of a plan, and holds up nobody else (W5).
    """
    throttled = [part.judgement for part in exchange.parts if part.judgement.kind is Kind.THROTTLED]
    if not throttled:
        return replace(exchange.whole, retry_after=None) if exchange.whole.kind is Kind.DONE else exchange.whole
    told = [one.retry_after for one in (*throttled, exchange.whole) if one.retry_after is not None]
    return replace(throttled[0], retry_after=max(told, default=None))


def _hint(reply: Reply) -> int | None:
    raw = reply.headers.get("x-ms-dop-hint", "")
    return int(raw) if raw.isdecimal() else None


def _is_who_am_i(reply: Reply) -> bool:
    """Whether it is Dataverse that answered: a captive portal says 200 to everything."""
    try:
        return "UserId" in json.loads(reply.body)
    except (ValueError, TypeError, RecursionError):
        return False
