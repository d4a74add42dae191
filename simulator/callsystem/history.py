"""The edge to Kafka, reading: everything that is on the topic of outcomes now, from its start."""

from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from runtime.connection import BrokerSettings
from simulator.callsystem.publish import Place

_SILENCE_SECONDS = 20


class Unread(Exception):
    """The topic could not be read to its end, so nobody knows what was published already."""


@dataclass(frozen=True, slots=True)
class Event:
    key: str
    value: bytes
    place: Place


def history(broker: BrokerSettings, *, silence: float = _SILENCE_SECONDS) -> Iterator[Event]:
    """Events in the order of their partitions; none when there is no such topic yet.

    Raises Unread when the broker does not answer, or says nothing for so many seconds.
    """
    topic = broker.topics.call_outcomes.name
    consumer = Consumer(
        broker.client_config()
        | {
            "group.id": "simulator-calls-history",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    try:
        yield from _read(consumer, topic, silence)
    except KafkaException as error:
        raise Unread(f"{topic} could not be read: {error}") from error
    finally:
        consumer.close()


def _read(consumer: Consumer, topic: str, silence: float) -> Iterator[Event]:
    known = consumer.list_topics(topic, timeout=silence).topics[topic]
    ahead = set() if known.error is not None else set(known.partitions)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ahead])
    while ahead:
        message = consumer.poll(silence)
        if message is None:
            raise Unread(f"{topic} gave nothing for {silence} s")
        error = message.error()
        if error is None:
            key = (message.key() or b"").decode(errors="replace")
            place = Place(message.partition() or 0, message.offset() or 0)
            yield Event(key, message.value() or b"", place)
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's public name for it
            ahead.discard(message.partition())
        else:
            raise KafkaException(error)
