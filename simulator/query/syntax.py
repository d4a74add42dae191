"""`$filter` text into a tree. The grammar is OData's as far as the service takes it; no table is known here."""

import re
from dataclasses import dataclass
from typing import Any

from simulator.errors import Refusal, bad_query


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant. `kind` is text, number, boolean, null, guid, time or list."""

    value: Any
    kind: str


@dataclass(frozen=True, slots=True)
class Path:
    """A property, reached over navigation properties."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    arguments: tuple["Node", ...]
    named: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Compare:
    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Both:
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: "Node"


@dataclass(frozen=True, slots=True)
class Lambda:
    """`collection/any(o:condition)` or `all`; the condition's paths begin with `variable`."""

    path: Path
    quantifier: str
    variable: str
    condition: "Node | None"


Node = Literal | Path | Function | Compare | Both | Either | Not | Lambda

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<guid>[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})
    | (?P<time>\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:\d{2})?)?)
    | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<enum>Microsoft\.Dynamics\.CRM\.\w+'(?:[^']|'')*')
    | (?P<text>'(?:[^']|'')*')
    | (?P<json>\[[^\]]*\])
    | (?P<name>[@A-Za-z_][\w.]*(?:/[@A-Za-z_][\w.]*)*)
    | (?P<mark>[(),:=])
    )""",
    re.VERBOSE,
)

Token = tuple[str, str]
_COMPARISONS = frozenset({"eq", "ne", "gt", "ge", "lt", "le"})
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\']|\'\')*)\'|([^,\s\[\]]+)')


def tokens(text: str) -> list[Token]:
    """Raises the refusal of a syntax error with its position."""
    found: list[Token] = []
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise _syntax(text, at)
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _syntax(text: str, at: int) -> Refusal:
    return bad_query(f"Syntax error at position {at} in '{text}'.")


class _Parser:
    """Recursive descent; `or` binds loosest, then `and`, then `not`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.at = 0

    def peek(self) -> Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def expect(self, mark: str) -> None:
        if self.take() != ("mark", mark):
            raise self.error()

    def error(self) -> Refusal:
        return _syntax(self.text, min(self.at, len(self.tokens)))

    def whole(self) -> Node:
        node = self.either()
        if self.peek()[0] != "end":
            raise self.error()
        return node

    def either(self) -> Node:
        parts = [self.both()]
        while self.peek() == ("name", "or"):
            self.take()
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def both(self) -> Node:
        parts = [self.negation()]
        while self.peek() == ("name", "and"):
            self.take()
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def negation(self) -> Node:
        if self.peek() == ("name", "not"):
            self.take()
            return Not(self.negation())
        return self.comparison()

    def comparison(self) -> Node:
        left = self.operand()
        kind, word = self.peek()
        if kind == "name" and word in _COMPARISONS:
            self.take()
            return Compare(word, left, self.operand())
        if kind == "name" and word == "in":
            self.take()
            self.expect("(")
            return Function("in", (left, *self.arguments()))
        return left

    def operand(self) -> Node:
        kind, word = self.take()
        if (kind, word) == ("mark", "("):
            node = self.either()
            self.expect(")")
            return node
        if kind == "name":
            return self.named(word)
        literal = constant(kind, word)
        if literal is None:
            raise self.error()
        return literal

    def named(self, word: str) -> Node:
        if word in {"true", "false"}:
            return Literal(word == "true", "boolean")
        if word == "null":
            return Literal(None, "null")
        if self.peek() != ("mark", "("):
            return Path(tuple(word.split("/")))
        self.take()
        *path, last = word.split("/")
        if path and last in {"any", "all"}:
            return self.quantified(Path(tuple(path)), last)
        if word.startswith("Microsoft.Dynamics.CRM."):
            return Function(word.removeprefix("Microsoft.Dynamics.CRM."), (), self.named_arguments())
        return Function(word, tuple(self.arguments()))

    def quantified(self, path: Path, quantifier: str) -> Node:
        if self.peek() == ("mark", ")"):
            self.take()
            return Lambda(path, quantifier, "", None)
        variable = self.take()[1]
        self.expect(":")
        condition = self.either()
        self.expect(")")
        return Lambda(path, quantifier, variable, condition)

    def arguments(self) -> list[Node]:
        found: list[Node] = []
        while self.peek() != ("mark", ")"):
            found.append(self.either())
            if self.peek() == ("mark", ","):
                self.take()
            elif self.peek() != ("mark", ")"):
                raise self.error()
        self.take()
        return found

    def named_arguments(self) -> tuple[tuple[str, Any], ...]:
        found: list[tuple[str, Any]] = []
        while self.peek() != ("mark", ")"):
            name = self.take()[1]
            self.expect("=")
            kind, word = self.take()
            literal = constant(kind, word)
            if literal is None:
                raise self.error()
            found.append((name, literal.value))
            if self.peek() == ("mark", ","):
                self.take()
        self.take()
        return tuple(found)


def constant(kind: str, word: str) -> Literal | None:
    """The literal of a token, or None when the token is not one."""
    match kind:
        case "text":
            return Literal(word[1:-1].replace("''", "'"), "text")
        case "enum":
            return Literal(word[word.index("'") + 1 : -1], "text")
        case "number":
            return Literal(float(word) if any(mark in word for mark in ".eE") else int(word), "number")
        case "guid":
            return Literal(word.lower(), "guid")
        case "time":
            return Literal(word, "time")
        case "json":
            return Literal([a or b.replace("''", "'") or c for a, b, c in _TEXT.findall(word)], "list")
        case _:
            return None


def parse(text: str) -> Node:
    """The tree of a `$filter`. Raises a 400 refusal for what is not one."""
    parser = _Parser(text)
    if not parser.tokens:
        raise bad_query("The query specified in the URI is not valid. An empty expression.")
    return parser.whole()
