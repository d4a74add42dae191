"""A planner that stops itself (SIGSTOP) once: `python -m … PLACE`. `decided`: with a batch decided and unpublished.
`told`: in the middle of a transaction, after the broker has taken its plans and its progress.
"""

import os
import signal
import sys

from planner.command import run
from planner.kafka.publisher import PlanPublisher
from planner.settings import read_settings
from planner.wiring import Overrides
from runtime.logs import configure_logs

FIRST = 1


class SleepsOnce:
    def __init__(self, publisher: PlanPublisher, place: str) -> None:
        self._publisher, self._place = publisher, place
        self._batches = 0
        if place == "told":
            send = publisher.send_progress
            publisher.send_progress = lambda *progress: (send(*progress), self._sleep())

    async def publish(self, records, progress):
        self._batches += bool(records)
        if self._place == "decided" and records:
            self._sleep()
        return await self._publisher.publish(records, progress)

    def close(self):
        self._publisher.close()

    def _sleep(self) -> None:
        if self._batches == FIRST:
            self._batches += 1
            os.kill(os.getpid(), signal.SIGSTOP)


def main() -> int:
    configure_logs(service="planner", form="json")
    return run(read_settings(), Overrides(publisher=lambda publisher: SleepsOnce(publisher, sys.argv[1])))


if __name__ == "__main__":
    sys.exit(main())
