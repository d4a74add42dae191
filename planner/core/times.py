"""Times as the CRM writes them, and as whole milliseconds. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with a Z, to the second, as Dataverse keeps it: `2026-11-20T12:00:00Z`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"


def milliseconds(moment: datetime) -> int:
    """Since 1970, as Kafka and Avro count."""
    return (moment - EPOCH) // _MILLISECOND
