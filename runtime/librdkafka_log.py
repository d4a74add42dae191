"""librdkafka's log lines as lines of our log, in JSON on stdout, and not on stderr.

A client takes the logger as a keyword: `Producer(config, logger=client_log("writer"))`. The client delivers its lines
while it is polled, so its owner must poll it. Delivery reports and group membership need that anyway.

While a broker is away, every client logs each attempt to connect, for each broker and address: thousands of error lines
a night. So a line that repeats is one state, and is logged once, when the state begins.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

QUIET_S = 60.0
"""A state is over when no line mentioned it for this long; clients try to connect at least every ten seconds."""

_VARYING = re.compile(r"\[thrd:[^\]]*\]|\(after[^)]*\)|\S+:\d+(/\w+)?|ipv[46]#\S+|\d+")
"""What varies within one state: thread, duration, count, broker, address, and the numbers of clients and nodes."""


class OncePerState(logging.Filter):
    """Passes the first line of each state. Lines that differ only in broker, client or attempt are one state."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now, state = self._clock(), _VARYING.sub("", record.getMessage())
        self._last = {each: at for each, at in self._last.items() if now - at < QUIET_S}
        is_new = state not in self._last
        self._last[state] = now
        return is_new


def client_log(service: str) -> logging.Logger:
    """The logger for a broker client's warnings and errors: lost connections, refused sign-ins, fencing. They name
    hosts and clients, never a record (B1).
    """
    log = logging.getLogger(f"{service}.librdkafka")
    log.setLevel(logging.WARNING)
    if not any(isinstance(each, OncePerState) for each in log.filters):
        log.addFilter(OncePerState())
    return log
