"""What a signal does before a service has begun anything: the process ends at once, well.

Importing everything takes a second, and asking the broker may take several. A supervisor that changes its mind in that
time would see a service die by the signal, or wait for it.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType


def end_on_signals() -> None:
    """Until the service sets handlers of its own. For the main thread of a process that has begun nothing."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(RuntimeError, OSError, ValueError):  # it may be in the middle of a line, or closed
            stream.flush()
    os._exit(0)
