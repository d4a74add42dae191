"""Who asks, and under which conditions."""

from dataclasses import dataclass, field
from functools import lru_cache

APPLICATION = "application"
PERSON = "person"
SEED = "seed"


@dataclass(slots=True)
class Call:
    """One request on behalf of one user.

    `base` is the service root of answers (`http://host/api/data/v9.2`). `references` maps Content-IDs of the change set
    to the entities they made. `position` counts the operations of the request. `answer` says what a fault will make of
    the answer; empty when the caller gets it. `detects`: a write that a duplicate rule forbids is refused.
    """

    user: str
    base: str = ""
    number: int = 0
    actor: str = APPLICATION
    change_set: str | None = None
    position: int = 0
    on_behalf_of: str | None = None
    answer: str = ""
    detects: bool = False
    references: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preconditions:
    """`If-Match` and `If-None-Match` as the service reads them: `null` means nothing."""

    if_match: str | None = None
    if_none_match: str | None = None
    # How the operation log names it.
    label: str = ""
    # Whether a PATCH of a record may have them.
    upserting: bool = True

    @staticmethod
    @lru_cache(maxsize=1024)
    def of(if_match: str | None, if_none_match: str | None) -> "Preconditions":
        match, none_match = _meant(if_match), _meant(if_none_match)
        if match is None and none_match is None:
            return NO_PRECONDITIONS
        label = f"if-none-match {none_match}" if none_match else f"if-match {match}" if match else ""
        return Preconditions(match, none_match, label, none_match in {None, "*"})


def _meant(header: str | None) -> str | None:
    if header is None:
        return None
    value = header.strip()
    return None if value in {"", "null"} else value


NO_PRECONDITIONS = Preconditions()


def names_version(header: str, version: int) -> bool:
    """Whether an etag list contains this row version; weak and strong forms are the same here."""
    return any(tag.strip().removeprefix("W/").strip('"') == str(version) for tag in header.split(","))
