"""The edge to Kafka: publish an event and wait until all in-sync replicas have it."""

import asyncio
import threading
from dataclasses import dataclass

from confluent_kafka import KafkaError, Message, Producer

from runtime.connection import BrokerSettings
from schemas.codec import Codec
from schemas.records import CallOutcome

_POLL_SECONDS = 0.1
_CLOSE_SECONDS = 30


class NotPublished(Exception):
    """The broker did not take the event. The run ends; the ledger does not list it."""


@dataclass(frozen=True, slots=True)
class Place:
    partition: int
    offset: int


class Publisher:
    """A producer whose delivery reports arrive in the event loop. One thread polls until `close`."""

    def __init__(self, broker: BrokerSettings, codec: Codec[CallOutcome]) -> None:
        self._producer = Producer(broker.producer_config() | {"linger.ms": 2})
        self._codec = codec
        self._topic = broker.topics.call_outcomes.name
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="delivery-reports", daemon=True)
        self._thread.start()

    def encode(self, outcome: CallOutcome) -> bytes:
        return self._codec.encode(outcome)

    async def publish(self, key: str, value: bytes) -> Place:
        """Raises NotPublished when it was not acknowledged. Placed by murmur2 of the key, as Java's producers do."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Place] = loop.create_future()

        def report(error: KafkaError | None, message: Message) -> None:
            loop.call_soon_threadsafe(_settle, done, error, message)

        while True:
            try:
                self._producer.produce(self._topic, key=key.encode(), value=value, on_delivery=report)
                break
            except BufferError:
                await asyncio.sleep(_POLL_SECONDS)
        return await done

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(_POLL_SECONDS)

    async def close(self) -> None:
        """Blocks until everything sent was reported or half a minute has passed."""
        await asyncio.to_thread(self._producer.flush, _CLOSE_SECONDS)
        self._closing.set()
        await asyncio.to_thread(self._thread.join)


def _settle(done: "asyncio.Future[Place]", error: KafkaError | None, message: Message) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(NotPublished(f"the broker did not take an event: {error}"))
    else:
        done.set_result(Place(message.partition() or 0, message.offset() or 0))
