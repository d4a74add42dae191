"""Asks for the topics' facts again while a service runs; both services run this.

What was fit at the start may not stay so: somebody shortens a retention, takes a right away, adds partitions, creates a
topic anew. Rules:

- What no longer fits makes the service not ready and is logged as an error, once for each problem.
- Partitions that were added and a topic that was created anew end the process with `UnfitTopics` (78): most keys belong
  to other partitions now, or offsets count from the beginning, so to go on would break order or lose outcomes.
- A broker that does not answer says nothing about its topics: the last answer stands.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import NoReturn, Protocol, TypeVar

import structlog

from runtime.broker import BrokerUnavailable, UnfitTopics
from runtime.environment import Misconfigured
from schemas.topics import TopicFacts

T = TypeVar("T")


class View(Protocol):
    """Of `broker.BrokerView` what is needed here."""

    def look(self, *, timeout_s: float) -> tuple[TopicFacts, list[str]]: ...

    def changed(self, at_start: TopicFacts, now: TopicFacts) -> list[str]: ...


class TopicWatch:
    """`at_start` are the facts that the service began with, and must go on with."""

    def __init__(
        self, view: View, at_start: TopicFacts, *, service: str, every_s: float, timeout_s: float = 15.0
    ) -> None:
        self._view = view
        self._at_start = at_start
        self._every_s = every_s
        self._timeout_s = timeout_s
        self._log = structlog.get_logger(service)
        self._silent = False
        self.problems: tuple[str, ...] = ()
        self.heard_at = time.time()
        """Unix time of the last answer."""

    @property
    def fit(self) -> bool:
        return not self.problems

    async def run(self) -> NoReturn:
        """Until it is cancelled. Raises UnfitTopics when the service cannot go on."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.ask()

    async def ask(self) -> None:
        """Once. Raises UnfitTopics when the service cannot go on."""
        try:
            now, problems = await _in_a_thread(lambda: self._view.look(timeout_s=self._timeout_s))
        except (BrokerUnavailable, Misconfigured) as error:
            if not self._silent:
                self._log.warning("topics.not_asked", why=str(error), facts_of_s_ago=round(time.time() - self.heard_at))
            self._silent = True
            return
        self._silent = False
        self.heard_at = time.time()
        if changed := self._view.changed(self._at_start, now):
            self.problems = tuple(changed)
            raise UnfitTopics(changed)
        self._note(tuple(problems))

    def _note(self, problems: tuple[str, ...]) -> None:
        for problem in problems:
            if problem not in self.problems:
                self._log.error("topics.unfit", problem=problem)
        if self.problems and not problems:
            self._log.info("topics.fit")
        self.problems = problems


async def _in_a_thread(call: Callable[[], T]) -> T:
    """In a thread that nobody waits for at the end of the process, as one would for the threads of the event loop: a
    broker that is away would hold up the stop."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(answer: Callable[[], None]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: None if done.done() else answer())

    def run() -> None:
        try:
            found = call()
        except BaseException as error:  # noqa: BLE001  it is raised where the answer is waited for
            failure = error
            tell(lambda: done.set_exception(failure))
        else:
            tell(lambda: done.set_result(found))

    threading.Thread(target=run, name="topic-check", daemon=True).start()
    return await done
