"""Live: the loop and the consumer's thread turned lately. Ready: in its group, signed in, metadata verified. A writer
that gets no partition, since others have them all, is ready too: it is on standby.

Being ready is reached once and kept: a rebalance or an outage of the CRM is nothing that a restart, or taking the pod
out of service, would help. Losing a sign-in is, and shows; and so does a broker that is out of reach: nothing that is
said here is news then.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from runtime.endpoint import Verdict
from runtime.topic_watch import TopicWatch
from writer.dataverse.mapping_verification import MappingWatch
from writer.dataverse.metadata_cache import MetadataCache
from writer.dataverse.pool import Pool
from writer.service import BROKER_SILENT_S, Service

_LOOP_TURNS_WITHIN_S = 30.0
_CONSUMER_TURNS_WITHIN_S = 120.0
"""More than the thread may take to release partitions and to ask the broker where they stand."""


class Health:
    """Asked from the endpoint's thread; reads plain values only."""

    def __init__(
        self,
        service: Service,
        pool: Pool,
        facts: MetadataCache,
        *,
        write: bool,
        topics: TopicWatch | None = None,
        mapping: MappingWatch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topics = topics
        self._mapping = mapping
        self._service = service
        self._pool = pool
        self._facts = facts
        self._write = write
        self._clock = clock

    def live(self) -> Verdict:
        now = self._clock()
        loop, consumer = now - self._service.turned_at, now - self._service.consumer.turned_at
        ok = loop < _LOOP_TURNS_WITHIN_S and consumer < _CONSUMER_TURNS_WITHIN_S
        return Verdict(ok, {"loop_turned_s_ago": round(loop, 1), "consumer_turned_s_ago": round(consumer, 1)})

    def _broker_is_heard(self) -> bool:
        return time.time() - self._service.consumer.heard_at < BROKER_SILENT_S

    def ready(self) -> Verdict:
        signed_in = {channel.dataverse.name: channel.signed_in for channel in self._pool.channels}
        checks = {
            "joined": self._service.consumer.is_member,
            "signed_in": any(signed_in.values()),
            "metadata_verified": self._facts.reachable,
            "broker_heard": self._broker_is_heard(),
            "topics_fit": self._topics is None or self._topics.fit,
            "mapping_fits": self._mapping is None or self._mapping.gaps == 0,
        }
        problems = list(self._topics.problems) if self._topics else []
        mode = "write" if self._write else "dry run"
        return Verdict(all(checks.values()), {**checks, "identities": signed_in, "mode": mode, "topics": problems})
