"""librdkafka's own lines through our logs, as JSON on stdout, instead of past them on stderr.

A client takes the logger as a keyword: `Producer(config, logger=client_log("writer"))`. Its lines are handed over while
it is polled, so whoever owns a client must poll it, as is needed for delivery reports and group membership anyway.

While a broker is away every client says so with every attempt to connect, for each broker and address: thousands of
error lines a night. What is said again and again is one state, and said once when it begins.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

QUIET_S = 60.0
"""A state that was not mentioned for so long is over; clients try to connect every ten seconds at least."""

_VARYING = re.compile(r"\[thrd:[^\]]*\]|\(after[^)]*\)|\S+:\d+(/\w+)?|ipv[46]#\S+|\d+")
"""Thread, how often and how long, broker and address, numbers of clients and nodes."""


class OncePerState(logging.Filter):
    """Lets a line through when what it says begins. Which broker, client or attempt says it makes no other state."""

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
    """Warnings and errors of a broker client: connections lost, sign-in refused, fenced. They name hosts and clients,
    never a record (B1).
    """
    log = logging.getLogger(f"{service}.librdkafka")
    log.setLevel(logging.WARNING)
    if not any(isinstance(each, OncePerState) for each in log.filters):
        log.addFilter(OncePerState())
    return log
