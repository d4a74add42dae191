"""Faust's recovery with the bulk reader before it: then Faust has nothing left to read, or only the rest.

It happens inside Faust's recovery and not in its rebalance callback: until that returns no heartbeat is sent, and the
broker would give the partitions to another planner.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn

from faust.tables.recovery import Recovery
from faust.types import TP

from planner.pins.bulk import BulkReader


class BulkRecovery(Recovery):
    """Reads what the pins lack in bulk, and then tells Faust how far it got."""

    logger = logging.getLogger("faust.tables")
    reader: BulkReader
    hard_exit: Callable[[BaseException], NoReturn]

    async def _wait(self, coro: Any, timeout: Any = None) -> None:  # noqa: ARG002, ASYNC109  the base class's
        """Without the time limit: Faust takes one for a stop, and would silently never recover."""
        await super()._wait(coro)

    async def _build_offsets(self, consumer: Any, tps: set[TP], destination: Counter[TP], title: str) -> None:
        await super()._build_offsets(consumer, tps, destination, title)
        if title == "active" and tps:
            try:
                read = await self.reader.read({tp.partition: destination[tp] for tp in tps})
            except Exception as error:  # noqa: BLE001  without pins nothing may be planned (P1)
                self.hard_exit(error)
            for tp in tps:  # not beyond what Faust has seen of the topic: it would take that for an error
                destination[tp] = max(destination[tp], min(read[tp.partition], self.active_highwaters[tp]))
