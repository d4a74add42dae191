"""Where the logs of partitions end, asked of the broker itself: what the consumer keeps of that is out of date while
the broker is out of reach.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol, cast

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from runtime.connection import ClientConfig
from runtime.librdkafka_log import client_log

_WITHIN_S = 10.0
ANEW_AFTER_S = 15.0
"""Without an answer about each of the partitions for this time, a new client asks."""
_OUT_OF_DATE = {KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH}
"""After such a refusal the next question goes through a new client: of a broker that was killed and started again,
librdkafka asks with the leader epoch from before, and learns better only minutes later."""
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]

OnEnds = Callable[[Mapping[int, int], float], None]
"""The end of each partition that was reported, and when it was asked for, Unix time."""


class Ends(Protocol):
    def ask(self, partitions: Collection[int], on_ends: OnEnds) -> None:
        """Returns at once; `on_ends` is called from any thread, if there is an answer. One question at a time."""
        ...


class LogEnds:
    """Of all records, those of open transactions included: they were appended, and nobody can have settled them."""

    def __init__(
        self,
        config: ClientConfig,
        topic: str,
        *,
        connect: Callable[[ClientConfig], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = partial(connect or _admin, config)
        self._admin = self._connect()
        self._topic = topic
        self._clock = clock
        self._asking: object | None = None
        """The question that is under way."""
        self._good_at = clock()
        """When this client last answered about all partitions, or was made. Long ago, if it is out of date."""

    def ask(self, partitions: Collection[int], on_ends: OnEnds) -> None:
        if self._clock() - self._good_at >= ANEW_AFTER_S:
            self._begin_anew()
        if self._asking is not None:
            return
        self._asking = asking = object()
        asked_at = time.time()
        question = {TopicPartition(self._topic, partition): _LATEST for partition in partitions}
        answers = self._admin.list_offsets(
            question, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_WITHIN_S
        )
        by_partition: dict[int, int | KafkaError] = {}
        lock = threading.Lock()

        def answered(partition: int, answer: Future[Any]) -> None:
            with lock:
                by_partition[partition] = _end(answer)
                if len(by_partition) < len(answers) or self._asking is not asking:
                    return
                self._asking = None
            ends = {partition: end for partition, end in by_partition.items() if isinstance(end, int)}
            if len(ends) == len(by_partition):
                self._good_at = self._clock()
            elif any(isinstance(end, KafkaError) and end.code() in _OUT_OF_DATE for end in by_partition.values()):
                self._good_at = -math.inf
            if ends:
                on_ends(ends, asked_at)

        for part, future in answers.items():
            future.add_done_callback(partial(answered, part.partition))

    def _begin_anew(self) -> None:
        old = [self._admin]
        self._admin, self._asking, self._good_at = self._connect(), None, self._clock()
        threading.Thread(target=old.clear, name="old-client", daemon=True).start()  # its end may take a while


def _end(answer: Future[Any]) -> int | KafkaError:
    """Without an answer in time, librdkafka gives an offset that no log can have."""
    try:
        offset = int(answer.result().offset)
    except KafkaException as failure:
        return cast("KafkaError", failure.args[0])
    return offset if offset >= 0 else KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001  its public name


def _admin(config: ClientConfig) -> AdminClient:
    return AdminClient(dict(config), logger=client_log("writer"))
