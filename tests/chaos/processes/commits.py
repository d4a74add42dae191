"""Every commit of a consumer group in the order in which the broker took it, from its own topic of offsets."""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass

from tests.support.brokers.kafka import RealKafka

OFFSETS = "__consumer_offsets"


@dataclass(frozen=True)
class Commit:
    """`seq`: when, in milliseconds of the broker's clock, which is this machine's."""

    seq: int
    group: str
    partition: int
    offset: int


def commits_of(kafka: RealKafka, groups: Collection[str]) -> list[Commit]:
    """A group has one topic in these tests."""
    found: list[Commit] = []
    for message in kafka.records(OFFSETS):
        key, value = message.key(), message.value()
        if key and value and (commit := parsed(key, value, message.timestamp()[1])) and commit.group in groups:
            found.append(commit)
    return found


def parsed(key: bytes, value: bytes, at: int) -> Commit | None:
    """None of what is no commit: a group's metadata has another version."""
    if struct.unpack_from(">h", key)[0] not in (0, 1):
        return None
    group, place = _text(key, 2)
    _, place = _text(key, place)
    (partition,) = struct.unpack_from(">i", key, place)
    (offset,) = struct.unpack_from(">q", value, 2)
    return Commit(at, group, partition, offset)


def _text(data: bytes, place: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", data, place)
    return data[place + 2 : place + 2 + length].decode(), place + 2 + length
