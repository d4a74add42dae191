"""Which partition a key belongs to: Kafka's own murmur2, as Java's and aiokafka's producers place it. No I/O.

librdkafka's default is another hash (CRC32): producers of ours set `partitioner=murmur2_random`, or place explicitly.
"""

from collections.abc import Mapping
from functools import lru_cache

_M = 0x5BD1E995
_SEED = 0x9747B28C
_MASK = 0xFFFFFFFF


@lru_cache(maxsize=4096)
def murmur2(key: bytes) -> int:
    """Unsigned 32-bit hash, bit for bit that of org.apache.kafka.common.utils.Utils.murmur2. Kept: keys come again."""
    h = _SEED ^ len(key)
    whole = len(key) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    if tail := key[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def partition_of(key: bytes, partitions: int) -> int:
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def count_before(placed: Mapping[bytes, int], partitions: int) -> int | None:
    """The number of partitions by which these keys were placed, if it was a smaller one than today's; None if they are
    placed by today's, by another hash, or if there are too few of them to tell. `placed` maps keys to partitions.
    """
    if all(partition_of(key, partitions) == found for key, found in placed.items()):
        return None
    if (partitions - 1) * partitions ** -len(placed) > _CHANCE:  # that another hash looks like a smaller number
        return None
    return next(
        (
            count
            for count in range(partitions - 1, 0, -1)
            if all(partition_of(key, count) == found for key, found in placed.items())
        ),
        None,
    )


_CHANCE = 0.001
