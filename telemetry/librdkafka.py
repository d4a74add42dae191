"""librdkafka's own lines through our logs, as JSON on stdout, instead of past them on stderr.

A client takes the logger as a keyword: `Producer(config, logger=client_log("writer"))`. Its lines are handed over while
it is polled, so whoever owns a client must poll it, as is needed for delivery reports and group membership anyway.
"""

from __future__ import annotations

import logging


def client_log(service: str) -> logging.Logger:
    """Warnings and errors of a broker client: connections lost, sign-in refused, fenced. They name hosts and clients,
    never a record (B1).
    """
    log = logging.getLogger(f"{service}.librdkafka")
    log.setLevel(logging.WARNING)
    return log
