"""I5 Sessions that fail do not hold up the others: in virtual time, with a CRM that takes a fifth of a second."""

from __future__ import annotations

import math
from itertools import islice
from statistics import mean

import pytest

from tests.unit.writer.core.engine_kit import DENIED, a_plan
from tests.unit.writer.workbench import World, exchange_with
from writer.core import messages
from writer.core.attempt import part_count
from writer.core.batch import Failed, Reply
from writer.core.exchanges import Exchange, PartReply
from writer.core.publishing import ResultOf
from writer.core.replies import Judgement, Kind, Meaning

LATENCY_S = 0.2
SESSIONS, PARTITIONS = 300, 6
FAILED = Failed(Reply(400), 0)
TROUBLE = Judgement(Kind.TRANSIENT, Meaning.TROUBLE, 500, by_the_crm=True)


class SlowWorld(World):
    """Each request is answered a fifth of a second after it was sent. Parts of `failing` sessions get `trouble`, and
    the others of the same request are carried out.
    """

    def __init__(self, failing: frozenset[str], trouble: Judgement) -> None:
        super().__init__(start=4)
        self.failing, self.trouble = failing, trouble
        self.under_way: list[tuple[float, messages.Send]] = []
        self.settled_at: dict[str, float] = {}

    def on_send(self, send: messages.Send) -> None:
        self.under_way.append((self.now.s + LATENCY_S, send))

    def on_publish(self, effect: messages.Publish) -> None:
        for one in effect.publications:
            if isinstance(one, ResultOf):
                self.settled_at.setdefault(one.result.session_id, self.now.s)
        super().on_publish(effect)

    def go_on(self, sessions: set[str]) -> None:
        """Until they have settled."""
        while not sessions <= self.settled_at.keys():
            at = min(self.wake_at, self.under_way[0][0] if self.under_way else math.inf)
            assert at < math.inf, "nothing will happen any more"
            self._pass(max(0.0, at - self.now.s))
            while self.under_way and self.under_way[0][0] <= self.now.s:
                _, send = self.under_way.pop(0)
                self.inbox.append(messages.Replied(send.number, self._answered(send)))
            self.run()

    def _answered(self, send: messages.Send) -> Exchange:
        request, _ = self.engine._sent[send.number]
        parts, carried_out, ends = iter(send.parts), [], []
        for plan in request.plans:
            assert plan.ask is not None
            own = list(islice(parts, part_count(plan.ask)))
            fails = plan.session_id in self.failing
            carried_out += [] if fails else own
            ends += [fails] * len(own)
        whole = exchange_with(self.crm, carried_out) if carried_out else Exchange((), self.trouble, LATENCY_S)
        replies = iter(whole.parts)
        return Exchange(
            tuple(PartReply(self.trouble, FAILED) if fails else next(replies) for fails in ends), whole.whole, LATENCY_S
        )


def settled_after(failing: range, trouble: Judgement = DENIED) -> dict[str, float]:
    """Session to the seconds until its result, for those that do not fail."""
    names = frozenset(f"sess-{number}" for number in failing)
    world = SlowWorld(names, trouble)
    world.assign(*range(PARTITIONS))
    began = world.now.s
    plans = [a_plan(world, number) for number in range(SESSIONS)]
    for partition in range(PARTITIONS):
        world.arrive(*plans[partition::PARTITIONS], partition=partition)
    others = {plan.session_id for plan in plans} - names
    world.go_on(others)
    return {session: world.settled_at[session] - began for session in others}


@pytest.fixture(scope="module")
def sound() -> dict[str, float]:
    return settled_after(range(0))


@pytest.mark.parametrize("trouble", [DENIED, TROUBLE], ids=["refused", "transient"])
@pytest.mark.parametrize("failing", [range(0, SESSIONS, 100), range(0, SESSIONS, 10)], ids=["1 %", "10 %"])
def test_I5_sessions_that_fail_delay_the_others_by_at_most_a_factor_of_two(
    sound: dict[str, float], failing: range, trouble: Judgement
) -> None:
    beside_failing = settled_after(failing, trouble)
    assert max(beside_failing.values()) <= 2 * max(sound.values())
    assert mean(beside_failing.values()) <= 2 * mean(sound[session] for session in beside_failing)
