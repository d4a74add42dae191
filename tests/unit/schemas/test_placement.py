"""Our placement is Kafka's murmur2, so that every producer puts a queue item into the same partition."""

from __future__ import annotations

import pytest

from schemas.placement import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "signed"),
    [  # from Apache Kafka's own UtilsTest.testMurmur2
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_bit_for_bit_that_of_java(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32


def test_a_partition_is_never_negative() -> None:
    assert partition_of(b"foobar", 12) == (-790332482 & 0x7FFFFFFF) % 12
