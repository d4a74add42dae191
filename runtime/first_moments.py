"""Signals during start-up: before the service has begun anything, SIGTERM and SIGINT end the process at once, with 0.

Imports take a second, and the first answer of a broker may take several. Without this, a supervisor that stops the
service meanwhile would see it die by the signal, or wait for it.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType


def end_on_signals() -> None:
    """Call it in the main thread before anything has begun. It holds until the service sets its own handlers."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(RuntimeError, OSError, ValueError):  # the stream may be in the middle of a line, or closed
            stream.flush()
    os._exit(0)
