"""What goes to the rejected topic: the original key and bytes, and in the headers why. No personal data there (B1)."""

from __future__ import annotations

from planner.core.deciding import TOO_LARGE_TO_COPY, Refused
from planner.core.outgoing import OutgoingRecord
from planner.core.senders import sender_headers
from planner.kafka.traces import kept_headers
from schemas.headers import OPT_OUT, REJECTED_BY, REJECTED_FROM, reasons_header

_MOST_REASONS = 50


def rejection(refused: Refused, *, topic: str, by: str) -> OutgoingRecord:
    """Headers of the original are kept as far as they hold no personal data (`core.senders`).

    If even that is larger than the topic allows, a record without the value goes in its place: REJECTED_FROM says
    where the original is, and everything behind it goes on.
    """
    incoming = refused.incoming
    place = f"{incoming.topic}/{incoming.partition}/{incoming.offset}".encode()
    signed = [(REJECTED_BY, by.encode()), (REJECTED_FROM, place)]
    headers = [*sender_headers(incoming.headers), *kept_headers(incoming.headers), *signed]
    if refused.opt_out:
        headers.append((OPT_OUT, b"true"))
    reasons = refused.reasons[:_MOST_REASONS]
    return OutgoingRecord(
        topic=topic,
        partition=incoming.partition,
        key=incoming.key,
        value=incoming.value,
        headers=[*headers, reasons_header(reasons)],
        smaller=lambda: OutgoingRecord(
            topic=topic,
            partition=incoming.partition,
            key=None,
            value=None,
            headers=[*headers, reasons_header([*reasons, TOO_LARGE_TO_COPY])],
        ),
    )
