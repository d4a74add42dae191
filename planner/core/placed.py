"""Whether the number of partitions was raised after the first plans were written. Pure.

Everything of one queue item is in one partition, by the hash of its key and the number of partitions. Who raises that
number moves most queue items: their next plans would go elsewhere, with other pins, in no order with the earlier ones.
"""

from __future__ import annotations

from collections.abc import Collection

from schemas.placement import partition_of

_LEAST = 8
"""Queue items that stand elsewhere before anything is concluded from it."""


def raised_from(found: Collection[tuple[str, int]], partitions: int) -> int | None:
    """The number of partitions that these queue items were placed by, if it was a smaller one. `found`: queue items and
    the partitions of some of their oldest plans.

    None as well if no smaller number explains where they stand: then somebody places by another hash.
    """
    moved = {item for item, at in found if partition_of(item.encode(), partitions) != at}
    if len(moved) < _LEAST:
        return None
    return next((fewer for fewer in range(partitions - 1, 0, -1) if _explains(found, fewer, partitions)), None)


def _explains(found: Collection[tuple[str, int]], fewer: int, partitions: int) -> bool:
    """What stands in the partitions that there were, stands by their number; in the others, by today's."""
    return all(partition_of(item.encode(), fewer if at < fewer else partitions) == at for item, at in found)
