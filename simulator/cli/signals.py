"""Stop on SIGTERM and Ctrl-C, on systems whose event loop knows signals and on those where it does not (Windows)."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress

BOTH = (signal.SIGTERM, signal.SIGINT)


def on_signals(
    loop: asyncio.AbstractEventLoop, stop: Callable[[], object], numbers: tuple[signal.Signals, ...] = BOTH
) -> None:
    """Call `stop` in the loop when the process is asked to end."""
    for number in numbers:
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:
            # A handler of Python's own runs between two steps of the main thread, and the loop has to hear of it.
            signal.signal(number, lambda *_: _tell(loop, stop))


def _tell(loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> None:
    with suppress(RuntimeError):  # the loop has ended already
        loop.call_soon_threadsafe(stop)
