"""The watch over the topics: what it says, and when it ends the service."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import structlog.testing

from runtime.broker import BrokerUnavailable, UnfitTopics
from runtime.errors import Misconfigured
from runtime.topic_watch import TopicWatch
from schemas.topics import FoundTopic, TopicFacts, Topics, changes

AT_START = TopicFacts({"call-outcomes": FoundTopic(3, None, 1, "id")})
REQUIRED = (Topics().call_outcomes,)
Answer = tuple[TopicFacts, list[str]] | Exception


class Scripted:
    """A broker that gives the answers of a list, from a thread."""

    def __init__(self, *answers: Answer) -> None:
        self.left = list(answers)
        self.asked_in: list[str] = []

    def look(self, *, timeout_s: float) -> tuple[TopicFacts, list[str]]:
        self.asked_in.append(threading.current_thread().name)
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def changed(self, at_start: TopicFacts, now: TopicFacts) -> list[str]:
        return changes(REQUIRED, at_start, now)


async def watched(*answers: Answer) -> tuple[TopicWatch, list[tuple[tuple[str, ...], bool]], list[dict[str, Any]]]:
    """The watch after all answers, what it said of the topics after each, and its log."""
    view = Scripted(*answers)
    watch = TopicWatch(view, AT_START, service="planner", every_s=0.001)
    after: list[tuple[tuple[str, ...], bool]] = []
    with structlog.testing.capture_logs() as log:
        watch._log = structlog.get_logger("planner")
        for _ in answers:
            await watch.ask()
            after.append((watch.problems, watch.fit))
    assert set(view.asked_in) == {"topic-check"}
    return watch, after, [dict(line) for line in log]


async def test_topics_that_stay_fit_are_not_worth_a_line() -> None:
    watch, _, log = await watched((AT_START, []), (AT_START, []))
    assert (watch.fit, log) == (True, [])


async def test_each_problem_is_logged_once_and_holds_until_it_is_over() -> None:
    _, after, log = await watched((AT_START, ["a"]), (AT_START, ["a", "b"]), (AT_START, ["b"]), (AT_START, []))
    assert after == [(("a",), False), (("a", "b"), False), (("b",), False), ((), True)]
    assert [(line["event"], line.get("problem")) for line in log] == [
        ("topics.unfit", "a"),
        ("topics.unfit", "b"),
        ("topics.fit", None),
    ]


async def test_a_broker_that_does_not_answer_says_nothing_about_its_topics() -> None:
    away = BrokerUnavailable("gone")
    _, after, log = await watched((AT_START, ["a"]), away, Misconfigured(["refused"]), (AT_START, ["a"]), away)
    assert {problems for problems, _ in after} == {("a",)}
    assert [line["event"] for line in log] == ["topics.unfit", "topics.not_asked", "topics.not_asked"]


@pytest.mark.parametrize(
    ("now", "says"), [(FoundTopic(6, None, 1, "id"), "has 6 partitions"), (FoundTopic(3, None, 1, "new"), "again")]
)
async def test_P5_what_cannot_be_gone_on_with_ends_the_service(now: FoundTopic, says: str) -> None:
    watch = TopicWatch(
        Scripted((AT_START, []), (TopicFacts({"call-outcomes": now}), [])), AT_START, service="planner", every_s=0.001
    )
    with pytest.raises(UnfitTopics, match=says):
        await watch.run()
    assert not watch.fit


def test_B2_a_stop_does_not_wait_for_a_broker_that_does_not_answer() -> None:
    """The end of the loop is part of it: a thread of the loop's own pool would hold it up."""
    released = threading.Event()

    class Silent(Scripted):
        def look(self, *, timeout_s: float) -> tuple[TopicFacts, list[str]]:
            released.wait()
            return AT_START, []

    async def ask_and_stop() -> None:
        asking = asyncio.ensure_future(TopicWatch(Silent(), AT_START, service="planner", every_s=1).ask())
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(ask_and_stop())
    released.set()


async def test_an_answer_that_comes_when_nobody_waits_any_more_does_no_harm() -> None:
    released, answered = threading.Event(), threading.Event()

    class Late(Scripted):
        def look(self, *, timeout_s: float) -> tuple[TopicFacts, list[str]]:
            released.wait()
            answered.set()
            return AT_START, []

    asking = asyncio.ensure_future(TopicWatch(Late(), AT_START, service="planner", every_s=1).ask())
    await asyncio.sleep(0.01)
    asking.cancel()
    released.set()
    await asyncio.to_thread(answered.wait)
    await asyncio.sleep(0.05)
