"""The query options of one GET, read from the URL and the `Prefer` header.

Every option is decided on: read here, refused because the service refuses it, or refused because nobody built it. What
`OPTIONS` does not name is refused too, so nothing is passed over in silence.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote_plus

from simulator import errors

MAX_PAGE = 5000
MAX_EXPANDS = 15

_SERVICE = "refused: Dataverse does not take it"
OPTIONS: dict[str, str] = {
    "$select": "built", "$expand": "built", "$filter": "built", "$orderby": "built", "$top": "built",
    "$count": "built", "$apply": "built", "$skiptoken": "built: what a next link carries", "fetchXml": "built",
    "sql": "built", "$id": "built: which reference to delete", "@…": "built: the value of a parameter",
    "$skip": _SERVICE, "$search": _SERVICE, "$format": _SERVICE, "$compute": _SERVICE, "$levels": _SERVICE,
    "$deltatoken": "refused: there is no change tracking here",
    "savedQuery": "refused: there are no views here", "userQuery": "refused: there are no views here",
    "partitionId": "refused: there are no elastic tables here",
    "partitionid": "refused: there are no elastic tables here",
    "annotations": "refused: $metadata has no annotations of tables here",
    "LabelLanguages": "built: 1033 is the only language", "SolutionUniqueName": "refused: there are no solutions here",
    "tag": "no effect: it is handed to plug-ins, and there are none here",
}  # fmt: skip
# Read wherever rows are listed.
LISTED = frozenset({"$select", "$expand", "$filter", "$orderby", "$top", "$count", "$apply", "$skiptoken"})
ONE = frozenset({"$select", "$expand"})
NOTHING: frozenset[str] = frozenset()
_EXPANDED = frozenset({"$select", "$filter", "$orderby", "$top", "$expand"})
_WITH_ALIASES = ("$filter", "$orderby", "$apply")
_ALIAS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"\\]|\\.)*\"|(?<![\w.])@[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Expand:
    """One `$expand`: the navigation property, the options in its parentheses, and those as they were written."""

    navigation: str
    options: "Options"
    references: bool = False
    written: tuple[tuple[str, str], ...] = ()


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
    apply: str = ""


def parameters(query: str) -> dict[str, str]:
    """Query string into decoded names and values; `@p` aliases are put in where they are used.

    An alias without a value is null. Raises 400 for an option that is given twice.
    """
    if not query:
        return {}
    found: dict[str, str] = {}
    for pair in query.split("&"):
        if not pair:
            continue
        name, _, value = pair.partition("=")
        name = unquote_plus(name)
        if name in found:
            raise errors.bad_query(
                f"Query option '{name}' was specified more than once, but it must be specified once."
            )
        found[name] = unquote_plus(value)
    for name in _WITH_ALIASES:
        if "@" in found.get(name, ""):
            found[name] = _ALIAS.sub(lambda match: _replaced(match[0], found), found[name])
    return found


def _replaced(text: str, given: Mapping[str, str]) -> str:
    """A literal stays as it is; an alias becomes its value (as a name where it names something)."""
    return given.get(text, "null") if text.startswith("@") else text


def only(given: Mapping[str, str], allowed: frozenset[str], where: str) -> None:
    """Raises a refusal for every option that has no meaning in this place."""
    for name, value in given.items():
        if name in allowed or name.startswith("@") or name == "tag":
            continue
        decision = OPTIONS.get(name)
        if decision is None:
            raise errors.bad_query(f"The query parameter '{name}' is not supported.")
        if decision == _SERVICE or decision.startswith("built"):
            raise errors.bad_query(f"The query parameter '{name}' is not supported{f' on {where}' if where else ''}.")
        raise errors.not_built(f"the query parameter '{name}={value}'{decision.removeprefix('refused')}")


def read(
    query: Mapping[str, str], prefer: Mapping[str, str], allowed: frozenset[str] = LISTED, where: str = ""
) -> Options:
    """Raises a refusal for an option that is unknown here or has a value it cannot have."""
    only(query, allowed, where)
    options = _read(query)
    if not prefer:
        return options
    page = prefer.get("odata.maxpagesize")
    if page is not None:
        options = replace(options, page_size=max(1, min(MAX_PAGE, whole("odata.maxpagesize", page))))
    return replace(options, annotations=prefer.get("odata.include-annotations", ""))


def _read(query: Mapping[str, str]) -> Options:
    if not query:
        return Options()
    expands = tuple(_expand(part) for part in split(query.get("$expand", ""), ","))
    if len(expands) > MAX_EXPANDS:
        raise errors.bad_query(f"A query can have {MAX_EXPANDS} $expand options at most.")
    count = query.get("$count", "false").lower()
    if count not in {"true", "false"}:
        raise errors.bad_query(
            f"Invalid value '{query['$count']}' for $count query option found. Valid are true and false."
        )
    return Options(
        select=tuple(part.strip() for part in query.get("$select", "").split(",") if part.strip()),
        expand=expands,
        filter=query.get("$filter", ""),
        orderby=tuple(_order(part) for part in query.get("$orderby", "").split(",") if part.strip()),
        top=whole("$top", query["$top"]) if "$top" in query else None,
        count=count == "true",
        skip_token=query.get("$skiptoken", ""),
        apply=query.get("$apply", ""),
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
    name = name.strip()
    references = name.endswith("/$ref")
    if name.endswith("/$count"):
        raise errors.bad_query("$count in $expand is not supported.")
    name = name.removesuffix("/$ref")
    if not bracket:
        return Expand(name, Options(), references)
    if references or not rest.rstrip().endswith(")"):
        raise errors.bad_query(f"Syntax error in $expand at '{part}'.")
    inner: dict[str, str] = {}
    for item in split(rest.rstrip()[:-1], ";"):
        key, equals, value = item.partition("=")
        key = key.strip()
        if not equals or key not in _EXPANDED or key in inner:
            raise errors.bad_query(f"The option '{key}' is not supported in $expand, or given twice.")
        inner[key] = value.strip()
    return Expand(name, _read(inner), written=tuple(inner.items()))


def written(expand: Expand) -> str:
    """The options of an expanded collection as the query string of its next link."""
    return "&".join(f"{name}={quote(value, safe=_UNQUOTED)}" for name, value in expand.written)


_UNQUOTED = "$,()/;=':@* "


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
