"""A planner whose broker takes its time to acknowledge: `python -m … SECONDS` per batch. With `late` the transaction is
committed before that time.

It is slow until there is a file of the name that SLOW_UNTIL gives.
"""

import asyncio
import os
import sys
from pathlib import Path

from planner.command import run
from planner.kafka.publisher import PlanPublisher
from planner.settings import read_settings
from planner.wiring import Overrides
from runtime.logs import configure_logs


def is_slow() -> bool:
    return not Path(os.environ["SLOW_UNTIL"]).exists()


class SlowPublisher:
    def __init__(self, publisher: PlanPublisher, seconds: float, *, late: bool) -> None:
        self._publisher, self._seconds, self._late = publisher, seconds, late

    async def publish(self, records, progress):
        if not self._late:
            await self._pause()
        replaced = await self._publisher.publish(records, progress)
        if self._late:
            await self._pause()
        return replaced

    async def _pause(self) -> None:
        await asyncio.sleep(self._seconds * is_slow())

    def close(self):
        self._publisher.close()


def main() -> int:
    configure_logs(service="planner", form="json")
    seconds, late = float(sys.argv[1]), sys.argv[2:] == ["late"]
    return run(read_settings(), Overrides(publisher=lambda publisher: SlowPublisher(publisher, seconds, late=late)))


if __name__ == "__main__":
    sys.exit(main())
