"""The query options of one GET, read from the URL and the `Prefer` header."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote_plus

from simulator import errors

MAX_PAGE = 5000
_KNOWN = frozenset({"$select", "$expand", "$filter", "$orderby", "$top", "$count", "$skiptoken"})


@dataclass(frozen=True, slots=True)
class Expand:
    """One `$expand`: the navigation property and the options in its parentheses."""

    navigation: str
    options: "Options"


@dataclass(frozen=True, slots=True)
class Options:
    select: tuple[str, ...] = ()
    expand: tuple[Expand, ...] = ()
    filter: str = ""
    orderby: tuple[tuple[str, bool], ...] = ()
    top: int | None = None
    count: bool = False
    skip_token: str = ""
    page_size: int = MAX_PAGE
    annotations: str = ""


def parameters(query: str) -> dict[str, str]:
    """Query string into decoded names and values; `@p` aliases are put in where they are used."""
    if not query:
        return {}
    found = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        found[unquote_plus(name)] = unquote_plus(value)
    aliases = {name: value for name, value in found.items() if name.startswith("@")}
    if aliases:
        pattern = re.compile("|".join(re.escape(name) + r"\b" for name in sorted(aliases, key=len, reverse=True)))
        found = {
            name: value if name in aliases else pattern.sub(lambda match: aliases[match[0]], value)
            for name, value in found.items()
        }
    return found


def read(query: Mapping[str, str], prefer: Mapping[str, str]) -> Options:
    """Raises a 400 refusal for an option that is unknown or has a value it cannot have."""
    unknown = next((name for name in query if name.startswith("$") and name not in _KNOWN), None)
    if unknown:
        raise errors.bad_query(f"The query parameter '{unknown}' is not supported.")
    options = _read(query)
    page = prefer.get("odata.maxpagesize")
    if page is not None:
        options = replace(options, page_size=max(1, min(MAX_PAGE, whole("odata.maxpagesize", page))))
    return replace(options, annotations=prefer.get("odata.include-annotations", ""))


def _read(query: Mapping[str, str]) -> Options:
    if not query:
        return Options()
    return Options(
        select=tuple(part.strip() for part in query.get("$select", "").split(",") if part.strip()),
        expand=tuple(_expand(part) for part in split(query.get("$expand", ""), ",")),
        filter=query.get("$filter", ""),
        orderby=tuple(_order(part) for part in query.get("$orderby", "").split(",") if part.strip()),
        top=whole("$top", query["$top"]) if "$top" in query else None,
        count=query.get("$count", "false").lower() == "true",
        skip_token=query.get("$skiptoken", ""),
    )


def whole(name: str, text: str) -> int:
    """Raises the 400 of anything but decimal digits."""
    if not (text.isascii() and text.isdigit()):
        raise errors.bad_query(
            f"Invalid value '{text}' for {name} query option found. A non-negative integer is required."
        )
    return int(text)


def _order(part: str) -> tuple[str, bool]:
    """Column and whether it descends."""
    name, _, direction = part.strip().partition(" ")
    direction = direction.strip().lower()
    if direction not in {"", "asc", "desc"}:
        raise errors.bad_query(f"Syntax error in $orderby at '{part.strip()}'.")
    return name, direction == "desc"


def _expand(part: str) -> Expand:
    name, bracket, rest = part.strip().partition("(")
    if not bracket:
        return Expand(name.strip(), Options())
    if not rest.rstrip().endswith(")"):
        raise errors.bad_query(f"Syntax error in $expand at '{part}'.")
    inner = dict(item.split("=", 1) for item in split(rest.rstrip()[:-1], ";") if "=" in item)
    return Expand(name.strip(), _read({key.strip(): value for key, value in inner.items()}))


def split(text: str, mark: str) -> list[str]:
    """Parts between marks that are outside parentheses and quotes."""
    parts: list[str] = []
    depth, quoted, start = 0, False, 0
    for at, letter in enumerate(text):
        if letter == "'":
            quoted = not quoted
        elif not quoted and letter in "()":
            depth += 1 if letter == "(" else -1
        elif letter == mark and not quoted and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    parts.append(text[start:])
    return [part for part in parts if part.strip()]
