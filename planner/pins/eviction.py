"""How long the pins of a partition are kept once it belongs to another planner.

P1 The agent may still hold outcomes of a partition that has just gone: the batch in hand, and what was gathered for the
next one. They have to be planned with their pins, or the other planner and this one would plan them differently.

Recovery runs in a thread of its own, beside the agent: both go by `lock`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Set
from threading import Lock

_TURNS = 2


class DeferredEviction(ABC):
    def __init__(self) -> None:
        self.lock = Lock()
        self._leaving: dict[int, int] = {}

    def assigned(self, partitions: Set[int]) -> None:
        """The others belong to another planner now: they go once the agent can hold nothing of them any more. What
        comes back before that stays, and recovery adds to it what the other planner did."""
        self._leaving = {each: self._leaving.get(each, 0) for each in self._held() if each not in partitions}

    def batch_done(self, partitions: Set[int]) -> None:
        """The agent has seen a batch through, with outcomes of these partitions."""
        for each in tuple(self._leaving):
            self._leaving[each] = 0 if each in partitions else self._leaving[each] + 1
            if self._leaving[each] >= _TURNS:
                del self._leaving[each]
                with self.lock:
                    self._drop(each)

    @abstractmethod
    def _held(self) -> Collection[int]: ...

    @abstractmethod
    def _drop(self, partition: int) -> None: ...
