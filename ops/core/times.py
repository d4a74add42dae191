"""Times as operators write and read them. No I/O."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
HOW = (
    "a time such as 2026-11-20T14:00 or 2026-11-20T14:00+01:00 (UTC if it names no zone), or how long ago: "
    "90s, 15m, 2h, 7d"
)


class NotATime(ValueError):
    """The text is not a time; the message shows one."""


def moment(text: str, *, now: datetime) -> datetime:
    """Raises NotATime."""
    with suppress(NotATime):
        return now - duration(text)
    try:
        given = datetime.fromisoformat(text.strip())
    except ValueError:
        raise NotATime(f"give {HOW}") from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def duration(text: str) -> timedelta:
    """90s, 15m, 2h, 7d. Raises NotATime."""
    if not (found := _AGO.fullmatch(text.strip())):
        raise NotATime("give how long: 90s, 15m, 2h, 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def of_milliseconds(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def iso(at_ms: int | None) -> str | None:
    """In UTC, to the second."""
    return None if at_ms is None else f"{of_milliseconds(at_ms):%Y-%m-%dT%H:%M:%SZ}"


def age(seconds: float) -> str:
    """In the two largest units: 3 d 4 h, 2 min 5 s."""
    left = max(0, round(seconds))
    parts = list[str]()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])
