"""The clients of several application users, and `$batch` as the only kind of request on them.

Which of them may send is decided in `core.identities`. Requests of the engine come with their place; questions about
metadata and owners wait for one here.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Sequence

from writer.core.batch import encode
from writer.core.exchanges import Exchange, Part, dop_hint, exchange_of, same_for_all, unencodable
from writer.core.identities import Identities, Identity, Place
from writer.core.pacing import Pacer
from writer.core.replies import Judgement, Kind, Meaning, judge, lost, never_sent, not_signed_in
from writer.dataverse.client import WHO_AM_I, DataverseClient, HttpReply, HttpRequest
from writer.errors import NeverSent, SignInFailed, Unanswered
from writer.metrics import Metrics
from writer.reporting import Reporter

_NOT_DATAVERSE = (
    "The address answers, but not as Dataverse does. Check WRITER_DATAVERSE__URL, and what is in front of the CRM."
)
_LONGEST_NAP_S = 1.0


class Channel:
    """One application user: its client, and what is known of it."""

    def __init__(self, dataverse: DataverseClient, pacer: Pacer) -> None:
        self.dataverse = dataverse
        self.pacer = pacer
        self.identity = Identity(dataverse.name, pacer)

    @property
    def signed_in(self) -> bool:
        return self.identity.signed_in


class Pool:
    """`clock` in monotonic seconds. `on_free` is called when a question has given its place back."""

    on_free: Callable[[], None] = staticmethod(lambda: None)

    def __init__(
        self,
        channels: Sequence[Channel],
        metrics: Metrics,
        *,
        api_path: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.channels = tuple(channels)
        self.identities = Identities([channel.identity for channel in channels])
        self._channel_of = {channel.identity: channel for channel in channels}
        self._reporter = Reporter(metrics)
        for channel in self.channels:
            metrics.expect(channel.dataverse.name)
        self._api_path = api_path
        self._clock = clock
        self._freed = asyncio.Event()

    def freed(self) -> None:
        """A request has ended: questions that wait for a place look again."""
        self._freed.set()

    async def exchange(self, parts: Sequence[Part], *, operation: str, consistency: str | None = None) -> Exchange:
        """Asks as soon as there is a place. Never raises for what the service, the network or the sign-in does."""
        place = await self._place()
        exchange = same_for_all(parts, lost())
        try:
            exchange = await self.send(place, parts, consistency=consistency)
        finally:  # also when cancelled: the place is given back, and what was sent has been counted
            self._reporter.report(self.identities.replied(place, exchange, operation, self._clock()))
            self.freed()
            self.on_free()
        return exchange

    async def _place(self) -> Place:
        question = object()
        self.identities.ask(question)
        try:
            while (place := self.identities.place(self._clock(), question)) is None:
                await self._nap(self.identities.free_at(self._clock()) - self._clock())
        finally:
            self.identities.withdraw(question)
        return place

    async def _nap(self, seconds: float) -> None:
        """Until a reply makes room, or the time is over."""
        self._freed.clear()
        try:
            async with asyncio.timeout(min(max(seconds, 0.001), _LONGEST_NAP_S)):
                await self._freed.wait()
        except TimeoutError:
            return

    async def send(
        self,
        place: Place,
        parts: Sequence[Part],
        *,
        consistency: str | None = None,
    ) -> Exchange:
        """One `$batch` through this place; the caller reports the exchange to `Identities.replied`."""
        headers = {"Prefer": "odata.continue-on-error"} | ({"Consistency": consistency} if consistency else {})
        try:
            content_type, body = encode(parts, boundary=f"batch_{uuid.uuid4().hex}", api_path=self._api_path)
        except ValueError:
            return unencodable(parts)
        started = self._clock()
        request = HttpRequest("POST", "$batch", headers | {"Content-Type": content_type}, body)
        answered = await self._answered(self._channel_of[place.identity], request)
        seconds = self._clock() - started
        if isinstance(answered, Judgement):
            return same_for_all(parts, answered, seconds)
        return exchange_of(parts, answered.status, answered.headers, answered.body, seconds=seconds, now=time.time())

    async def who_am_i(self, channel: Channel) -> Judgement:
        """Signs in and asks who we are: says whether this identity may work, and how much the service suggests."""
        place = Place(channel.identity, self._clock())
        channel.pacer.sent(place.started)
        answered, hint = await self._answered(channel, WHO_AM_I), None
        if isinstance(answered, Judgement):
            judgement = never_sent(answered.advice) if answered.kind is Kind.AMBIGUOUS else answered
        else:
            judgement = judge(answered.status, answered.headers, answered.body, now=time.time())
            hint = dop_hint(answered.headers)
            if judgement.kind is Kind.DONE and not _is_who_am_i(answered):
                judgement = Judgement(Kind.TRANSIENT, Meaning.SUSPECT, answered.status, advice=_NOT_DATAVERSE)
        now = self._clock()
        exchange = Exchange((), judgement, now - place.started, hint)
        self._reporter.report(self.identities.replied(place, exchange, "who_am_i", now))
        return judgement

    @staticmethod
    async def _answered(channel: Channel, request: HttpRequest) -> HttpReply | Judgement:
        try:
            return await channel.dataverse.send(request)
        except NeverSent as error:
            return never_sent(error.advice)
        except Unanswered:
            return lost()
        except SignInFailed as failure:
            return not_signed_in(failure.fault)

    async def close(self) -> None:
        for channel in self.channels:
            await channel.dataverse.close()


def _is_who_am_i(reply: HttpReply) -> bool:
    """Whether it is Dataverse that answered: a captive portal says 200 to everything."""
    try:
        return "UserId" in json.loads(reply.body)
    except (ValueError, TypeError, RecursionError):
        return False
