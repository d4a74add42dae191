"""A planner as a process that dies, or fails, at a chosen point of its second batch: `python -m … POINT [SIGNAL]`.

The points follow a batch through the service: it is taken, decided, half published, acknowledged, pinned, handed back
to Faust, which has acknowledged but not committed it, and committed.
"""

import asyncio
import os
import signal
import sys
import threading
import time

from planner.batch import BatchDecider
from planner.command import run
from planner.kafka.publisher import PlanPublisher
from planner.pins.index import PinIndex
from planner.settings import read_settings
from planner.wiring import Overrides
from runtime.logs import configure_logs
from tests.integration.planner.harness import committed

POINTS = ("taken", "decided", "half-published", "acknowledged", "pinned", "handed-back", "before-commit", "committed")
FATAL_BATCH = 2


class Trap:
    """Springs once, at `point` of batch number `fatal`: signal `number`, or an exception if that is 0."""

    def __init__(self, point: str, number: int, *, fatal: int = FATAL_BATCH) -> None:
        self.point, self.number, self.fatal = point, number, fatal
        self.batches = 0
        self.sprung = False

    def at(self, point: str) -> None:
        if point == self.point and self.batches >= self.fatal and not self.sprung:
            self.sprung = True
            if self.number == 0:
                raise RuntimeError("made up")
            os.kill(os.getpid(), self.number)

    def handed_back(self, bootstrap: str) -> None:
        """From here on only Faust is at work: another thread watches it."""
        self.at("handed-back")
        if self.batches >= self.fatal and not self.sprung and self.point in ("before-commit", "committed"):
            threading.Thread(target=self._watch, args=[bootstrap, committed(bootstrap)], daemon=True).start()

    def _watch(self, bootstrap: str, before: int) -> None:
        self.at("before-commit")
        while committed(bootstrap) < before + self.fatal:
            time.sleep(0.01)
        self.at("committed")


class TrappedPins:
    def __init__(self, pins: PinIndex, trap: Trap) -> None:
        self._pins, self._trap = pins, trap

    def pin(self, partition, pins):
        self._pins.pin(partition, pins)
        self._trap.at("pinned")

    def recover(self, partition, changes, read_up_to):
        self._trap.batches = FATAL_BATCH
        self._trap.at("recovering")
        self._pins.recover(partition, changes, read_up_to)

    def __len__(self):
        return len(self._pins)

    def __getattr__(self, name):
        return getattr(self._pins, name)


class TrappedDecider:
    def __init__(self, decider: BatchDecider, trap: Trap) -> None:
        self._decider, self._trap = decider, trap

    async def first_decisions(self, batch):
        self._trap.batches += 1
        self._trap.at("taken")
        found = await self._decider.first_decisions(batch)
        self._trap.at("decided")
        return found


class TrappedPublisher:
    def __init__(self, publisher: PlanPublisher, trap: Trap) -> None:
        self._publisher, self._trap = publisher, trap

    async def publish(self, records, progress):
        half = len(records) // 2
        too_large = await self._publisher.publish(records[:half])
        self._trap.at("half-published")
        too_large += await self._publisher.publish(records[half:], progress)
        self._trap.at("acknowledged")
        return too_large

    def close(self):
        self._publisher.close()


def trapped(handle, trap: Trap, bootstrap: str):
    async def handled(batch, membership):
        await handle(batch, membership)
        trap.handed_back(bootstrap)
        await asyncio.sleep(0)

    return handled


def main() -> int:
    point, number = sys.argv[1], signal.Signals[sys.argv[2]] if len(sys.argv) > 2 else 0
    trap = Trap(point, number)
    configure_logs(service="planner", form="json")
    settings = read_settings()
    return run(
        settings,
        Overrides(
            pins=lambda pins: TrappedPins(pins, trap),
            decider=lambda decider: TrappedDecider(decider, trap),
            publisher=lambda publisher: TrappedPublisher(publisher, trap),
            handle=lambda handle: trapped(handle, trap, settings.broker.bootstrap_servers),
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
