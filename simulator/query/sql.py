"""`?sql=`: the read-only SELECT that the Web API takes, translated into query options.

One table, columns, TOP, WHERE with AND, OR, NOT, comparisons, LIKE, IN, BETWEEN and IS NULL, and ORDER BY. Joins,
grouping and functions are refused in plain words.
"""

import re

from simulator.errors import Refusal, bad_query
from simulator.query.options import Options
from simulator.schema import Kind, Table

_SELECT = re.compile(
    r"^\s*select\s+(?:top\s*\(?\s*(?P<top>\d+)\s*\)?\s+)?(?P<columns>.+?)\s+from\s+(?P<table>\w+)(?:\s+(?:as\s+)?(?P<alias>(?!where|order)\w+))?"
    r"(?:\s+where\s+(?P<where>.+?))?(?:\s+order\s+by\s+(?P<order>.+?))?\s*;?\s*$",
    re.IGNORECASE | re.DOTALL,
)
_TOKEN = re.compile(
    r"\s*(?:(?P<text>N?'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<operator><>|!=|>=|<=|=|>|<|\(|\)|,)|(?P<word>[\w.\[\]]+))",
    re.IGNORECASE,
)
_COMPARE = {"=": "eq", "<>": "ne", "!=": "ne", ">": "gt", ">=": "ge", "<": "lt", "<=": "le"}
# A bracket after one of these words opens a list or a group; after any other word it calls a function.
_BEFORE_BRACKET = re.compile(r"\b(top|in|and|or|not|where|between)\s*\(", re.IGNORECASE)
_UNSUPPORTED = re.compile(r"\b(join|group\s+by|having|union|distinct)\b|\(\s*select\b|\b\w+\s*\(", re.IGNORECASE)


def options_of(table: Table, sql: str) -> Options:
    """Raises a 400 refusal for SQL that this does not read."""
    match = _SELECT.match(sql)
    strings_gone = re.sub(r"'(?:[^']|'')*'", "''", sql)
    unsupported = _UNSUPPORTED.search(_BEFORE_BRACKET.sub("[", strings_gone))
    if match is None or unsupported:
        raise bad_query(f"The SQL is not supported{f' near {unsupported[0]!r}' if unsupported else ''}.")
    columns = [_column(part, match["alias"]) for part in match["columns"].split(",")]
    order = []
    for part in (match["order"] or "").split(","):
        if part.strip():
            name, _, direction = part.strip().partition(" ")
            order.append((_column(name, match["alias"]), direction.strip().lower() == "desc"))
    return Options(
        select=() if columns == ["*"] else tuple(columns),
        filter=_Where(table, match["where"], match["alias"]).translate() if match["where"] else "",
        orderby=tuple(order),
        top=int(match["top"]) if match["top"] else None,
    )


def _column(text: str, alias: str | None) -> str:
    name = text.strip().strip("[]").lower()
    return name.removeprefix(f"{alias.lower()}.") if alias else name


class _Where:
    """Turns a WHERE clause into a `$filter`, token by token."""

    def __init__(self, table: Table, text: str, alias: str | None) -> None:
        self.table = table
        self.alias = alias
        self.text = text
        self.tokens = [(str(match.lastgroup), match[str(match.lastgroup)]) for match in _TOKEN.finditer(text)]
        self.at = 0

    def error(self) -> Refusal:
        return bad_query(f"The SQL is not supported near '{self.text}'.")

    def take(self) -> tuple[str, str]:
        if self.at >= len(self.tokens):
            raise self.error()
        self.at += 1
        return self.tokens[self.at - 1]

    def word(self) -> str:
        """The next word in lower case, without taking it."""
        return self.tokens[self.at][1].lower() if self.at < len(self.tokens) else ""

    def accept(self, word: str) -> bool:
        found = self.word() == word
        self.at += found
        return found

    def translate(self) -> str:
        out: list[str] = []
        while self.at < len(self.tokens):
            word = self.word()
            if word in {"and", "or", "not", "(", ")"}:
                out.append(self.take()[1].lower())
            else:
                out.append(self.condition())
        return " ".join(out)

    def condition(self) -> str:
        column = _column(self.take()[1], self.alias)
        negated = "not " if self.accept("not") else ""
        kind, mark = self.take()
        match mark.lower():
            case "is":
                return f"{column} {'ne' if self.accept('not') else 'eq'} {self.take()[1].lower()}"
            case "like":
                return negated + like(column, self.take()[1].removeprefix("N")[1:-1])
            case "in":
                return f"{negated}{column} in ({','.join(self.members(column))})"
            case "between":
                low = self.literal(column)
                self.accept("and")
                return f"{negated}({column} ge {low} and {column} le {self.literal(column)})"
        if kind != "operator" or mark not in _COMPARE:
            raise self.error()
        return f"{column} {_COMPARE[mark]} {self.literal(column)}"

    def members(self, column: str) -> list[str]:
        found = []
        self.accept("(")
        while not self.accept(")"):
            found.append(self.literal(column))
            self.accept(",")
        return found

    def literal(self, column: str) -> str:
        kind, text = self.take()
        known = self.table.columns.get(column) or self.table.by_wire.get(column)
        if kind == "text":
            text = text.removeprefix("N")
            plain = known is not None and known.kind in {Kind.DATETIME, Kind.GUID, Kind.LOOKUP, Kind.OWNER}
            return text[1:-1].replace(" ", "T") if plain else text
        if known is not None and known.kind is Kind.BOOLEAN:
            return "true" if text == "1" else "false"
        return text


def like(column: str, pattern: str) -> str:
    """A LIKE pattern with wildcards at its ends as a text function. `pattern` still has its quotes doubled."""
    head, tail = pattern.startswith("%"), pattern.endswith("%")
    body = pattern.strip("%")
    if "%" in body or "_" in body:
        raise bad_query(f"The pattern '{pattern}' is not supported: wildcards only at its ends.")
    function = "contains" if head and tail else "startswith" if tail else "endswith" if head else ""
    return f"{function}({column},'{body}')" if function else f"{column} eq '{body}'"
