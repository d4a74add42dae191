"""What keeps a planner that slept from having the last word.

P1 and order in a lane: of two planners that hold the same outcomes, only the one whose partitions they are now may
publish. A planner that was stopped past its session wakes up with a batch in hand, behind a newer planner's plans; on
the compacted topic its copies would take the place of the right ones, behind younger plans of the same queue item.

So plans, rejections and progress go in one transaction, and the progress bears the membership under which the outcomes
were taken. The broker refuses it from whoever is no member of that generation any more, and the whole transaction is
rolled back: nobody who reads committed records ever sees it. docs/decisions/0014 says what else was thought of.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import cimpl

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Membership:
    """A place in a consumer group, from one rebalance to the next."""

    group_id: str
    generation: int
    member_id: str
    instance_id: str | None = None

    def packed(self) -> bytes:
        """As confluent-kafka's producer takes it. Its consumer gives only its own away, and ours is aiokafka's; so the
        function of librdkafka that was made for this is called."""
        library = _librdkafka()
        made = library.rd_kafka_consumer_group_metadata_new_with_genid(
            self.group_id.encode(),
            self.generation,
            self.member_id.encode(),
            self.instance_id.encode() if self.instance_id else None,
        )
        place, size = ctypes.c_void_p(), ctypes.c_size_t()
        library.rd_kafka_consumer_group_metadata_write(made, ctypes.byref(place), ctypes.byref(size))
        try:
            return ctypes.string_at(place, size.value)
        finally:
            library.rd_kafka_mem_free(None, place)
            library.rd_kafka_consumer_group_metadata_destroy(made)


class Fence:
    """Which membership a batch may be published under. Set by the consumer's thread, asked by the agent."""

    def __init__(self) -> None:
        self._present: Membership | None = None
        self._given_up: int | None = None
        self.abandoned = 0
        """Batches."""

    def joined(self, membership: Membership) -> None:
        """After every rebalance, before anything of it is read."""
        self._present = membership

    def admitted(self, taken: Sequence[E], generation_of: Callable[[E], int]) -> tuple[Membership, list[E]] | None:
        """As whom to publish what was taken, and what of it: not what was taken before a rebalance, since whatever was
        not committed by then is delivered again. None if nothing of it may be published."""
        present = self._present
        if present is None or self._given_up == present.generation:
            return None
        ours = [each for each in taken if generation_of(each) == present.generation]
        return (present, ours) if ours else None

    def give_up(self, generation: int) -> None:
        """A batch of this generation was abandoned. Nothing that came behind it may be published: its progress would
        pass the batch by. Everything is delivered again after the rebalance."""
        self._given_up = generation
        self.abandoned += 1

    @property
    def generation(self) -> int:
        """0 before it is a member."""
        return self._present.generation if self._present else 0

    @property
    def waits_for_rebalance(self) -> bool:
        """Whether nothing can be published until the group has a new generation."""
        return self._present is not None and self._given_up == self._present.generation


@functools.cache
def _librdkafka() -> Any:
    library = ctypes.CDLL(cimpl.__file__)  # a look-up in the extension module goes on in librdkafka, wherever it is
    new = library.rd_kafka_consumer_group_metadata_new_with_genid
    new.restype = ctypes.c_void_p
    new.argtypes = [ctypes.c_char_p, ctypes.c_int32, ctypes.c_char_p, ctypes.c_char_p]
    write = library.rd_kafka_consumer_group_metadata_write
    write.restype = ctypes.c_void_p
    write.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_size_t)]
    library.rd_kafka_consumer_group_metadata_destroy.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mem_free.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    return library
