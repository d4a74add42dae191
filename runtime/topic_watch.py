"""Checks the topics again while a service runs; both services run this.

Topics may change after the start: somebody shortens a retention, revokes a right, adds partitions, or creates a topic
again. Rules:

- A wrong setting or a missing right makes the service not ready. Each problem is logged once, as an error.
- Added partitions and a topic that was created again end the process with `UnfitTopics` (78). Most keys now belong to
  other partitions, or offsets start again at 0, so going on would break order or lose outcomes.
- If the broker does not answer, the last answer remains valid.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import NoReturn, Protocol

import structlog

from runtime.broker import BrokerUnavailable, UnfitTopics
from runtime.errors import Misconfigured
from runtime.threads import in_daemon_thread
from schemas.topics import TopicFacts


class TopicView(Protocol):
    """The part of `broker.BrokerView` that is needed here."""

    def look(self, *, timeout_s: float) -> tuple[TopicFacts, list[str]]: ...

    def changed(self, at_start: TopicFacts, now: TopicFacts) -> list[str]: ...


class TopicWatch:
    """`at_start`: the topics' facts when the service began. It cannot go on with other topics."""

    def __init__(
        self, view: TopicView, at_start: TopicFacts, *, service: str, every_s: float, timeout_s: float = 15.0
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
        """Runs until cancelled. Raises UnfitTopics when the service cannot go on."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.ask()

    async def ask(self) -> None:
        """Checks once. Raises UnfitTopics when the service cannot go on."""
        try:
            now, problems = await in_daemon_thread(
                partial(self._view.look, timeout_s=self._timeout_s), name="topic-check"
            )
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
