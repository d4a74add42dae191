"""`?sql=`: the SELECT that the Web API takes, read into a plan.

Columns with aliases, INNER and LEFT JOIN, WHERE of columns and literals, GROUP BY with COUNT, SUM, AVG, MIN and MAX,
DISTINCT, ORDER BY columns, TOP and OFFSET … FETCH (which Microsoft's SDK documents, and the preview's page does not: a
switch). What the page says is not supported (`*`, HAVING, subqueries, functions, other joins) is refused by name.
"""

import re
from dataclasses import dataclass

from simulator.crm.organization import Organization
from simulator.errors import Refusal, bad_query
from simulator.query import conditions
from simulator.query.options import MAX_PAGE
from simulator.query.plan import ROOT, FrameTest, Link, Order, Output, Plan, asked_of
from simulator.schema import Column, Table

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<comment>--[^\n]*|/\*.*?\*/)
    | (?P<text>N?'(?:[^']|'')*')
    | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<mark><>|!=|>=|<=|=|>|<|\(|\)|,|\*|;|\.)
    | (?P<word>\[[^\]]+\]|"[^"]+"|[A-Za-z_]\w*)
    )""",
    re.VERBOSE | re.DOTALL,
)
_COMPARE = {"=": "eq", "<>": "ne", "!=": "ne", ">": "gt", ">=": "ge", "<": "lt", "<=": "le"}
_FUNCTIONS = {"count": "count", "sum": "sum", "avg": "avg", "min": "min", "max": "max"}
# Words that end a name where an alias could follow.
_RESERVED = frozenset(
    {
        "as", "from", "where", "group", "order", "inner", "left", "right", "full", "cross", "outer", "join", "on",
        "having", "union", "and", "or", "not", "offset", "fetch", "asc", "desc", "by", "top", "distinct",
    }
)  # fmt: skip
_REFUSED = frozenset({"having", "union", "right", "full", "cross", "intersect", "except", "exists", "case", "with"})
Token = tuple[str, str]
ColumnName = tuple[str, str]


@dataclass
class _Chosen:
    """One item of the SELECT list before its table is known."""

    name: ColumnName
    function: str = ""
    distinct: bool = False
    alias: str = ""
    every_row: bool = False


@dataclass
class Select:
    """A parsed statement: its plan, and which of its lines it wants."""

    plan: Plan
    top: int | None = None
    offset: int = 0


def tokens(text: str) -> list[Token]:
    found: list[Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise _unsupported(text[at : at + 20])
        if match.lastgroup != "comment":
            found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    if found and found[-1] == ("mark", ";"):
        found.pop()
    return found


def _unsupported(near: str) -> Refusal:
    return bad_query(f"The SQL is not supported near '{near}'.")


class _Parser:
    def __init__(self, organization: Organization, table: Table, text: str) -> None:
        self.organization = organization
        self.table = table
        self.tokens = tokens(text)
        refused = next((word for kind, word in self.tokens if kind == "word" and word.lower() in _REFUSED), None)
        if refused:
            raise _unsupported(refused)
        self.at = 0
        self.aliases: dict[str, tuple[str, Table]] = {}

    def peek(self, ahead: int = 0) -> Token:
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else ("end", "")

    def word(self) -> str:
        """The next word in lower case, without taking it; empty if it is not a word."""
        kind, text = self.peek()
        return text.lower() if kind == "word" else ""

    def take(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def accept(self, *words: str) -> bool:
        """Take these words or marks if they come next."""
        for ahead, word in enumerate(words):
            kind, text = self.peek(ahead)
            if kind not in {"word", "mark"} or text.lower() != word:
                return False
        self.at += len(words)
        return True

    def expect(self, *words: str) -> None:
        if not self.accept(*words):
            raise _unsupported(self.peek()[1] or "its end")

    def name(self) -> str:
        kind, text = self.take()
        if kind != "word" or text.lower() in _RESERVED:
            raise _unsupported(text or "its end")
        return text.strip('[]"')

    def number(self) -> int:
        kind, text = self.take()
        if kind != "number" or not text.isdigit():
            raise _unsupported(text or "its end")
        return int(text)

    def column_name(self) -> ColumnName:
        first = self.name()
        if self.accept("."):
            return first.lower(), self.name().lower()
        return "", first.lower()

    def optional_alias(self) -> str:
        if self.accept("as"):
            return self.name()
        kind, text = self.peek()
        return self.name() if kind == "word" and text.lower() not in _RESERVED else ""

    # The statement, clause by clause.

    def select(self) -> Select:
        self.expect("select")
        distinct = self.accept("distinct")
        top = self._top()
        chosen = [self._chosen()]
        while self.accept(","):
            chosen.append(self._chosen())
        self.expect("from")
        if self.name().lower() != self.table.logical_name:
            raise bad_query(f"The SQL selects from another table than '{self.table.logical_name}'.")
        self.aliases[(self.optional_alias() or self.table.logical_name).lower()] = (ROOT, self.table)
        links = self._joins()
        test = self._any() if self.accept("where") else None
        groups = self._names() if self.accept("group", "by") else []
        aggregate = bool(groups) or any(item.function for item in chosen)
        outputs = self._outputs(chosen, groups, aggregate=aggregate)
        orders = self._orders(outputs, aggregate=aggregate) if self.accept("order", "by") else ()
        offset, rows = self._offset()
        if self.peek()[0] != "end":
            raise _unsupported(self.peek()[1])
        late = len(self.aliases) > 1
        plan = Plan(
            self.table, tuple(links), None if late else test, test if late else None, outputs, orders, aggregate,
            distinct,
        )  # fmt: skip
        return Select(plan, top if top is not None else rows, offset)

    def _paging_allowed(self, what: str) -> None:
        if self.organization.switches.sql_paging == "refuse":
            raise _unsupported(what)

    def _top(self) -> int | None:
        if not self.accept("top"):
            return None
        self._paging_allowed("TOP")
        bracket = self.accept("(")
        number = self.number()
        if bracket:
            self.expect(")")
        if number > MAX_PAGE:
            raise bad_query(f"TOP cannot exceed {MAX_PAGE}.")
        return number

    def _offset(self) -> tuple[int, int | None]:
        if not self.accept("offset"):
            return 0, None
        self._paging_allowed("OFFSET")
        offset = self.number()
        if not self.accept("rows"):
            self.expect("row")
        if not self.accept("fetch"):
            return offset, None
        if not self.accept("next"):
            self.expect("first")
        rows = self.number()
        if not self.accept("rows"):
            self.expect("row")
        self.expect("only")
        return offset, rows

    def _chosen(self) -> _Chosen:
        if self.accept("*"):
            raise bad_query("SELECT * is not supported: name each column.")
        kind, text = self.peek()
        function = _FUNCTIONS.get(text.lower(), "") if kind == "word" and self.peek(1) == ("mark", "(") else ""
        if not function:
            name = self.column_name()
            if self.peek() == ("mark", "("):
                raise _unsupported(f"{text}(")
            return _Chosen(name, alias=self.optional_alias())
        self.at += 2
        distinct = self.accept("distinct")
        if function == "count" and self.accept("*"):
            item = _Chosen(("", ""), "count", every_row=True)
        else:
            item = _Chosen(self.column_name(), "countcolumn" if function == "count" else function, distinct)
        self.expect(")")
        item.alias = self.optional_alias()
        if not item.alias:
            raise bad_query(f"{function.upper()} needs an alias: {function.upper()}(…) AS name.")
        return item

    def _joins(self) -> list[Link]:
        links: list[Link] = []
        while True:
            if self.accept("inner", "join") or self.accept("join"):
                kind = "inner"
            elif self.accept("left", "join") or self.accept("left", "outer", "join"):
                kind = "outer"
            else:
                return links
            links.append(self._join(kind))

    def _join(self, kind: str) -> Link:
        name = self.name().lower()
        table = self.organization.schema.by_name.get(name)
        if table is None:
            raise bad_query(f"There is no table '{name}'.")
        self.organization.allow_reader(table)
        alias = (self.optional_alias() or name).lower()
        if alias in self.aliases:
            raise bad_query(f"The alias '{alias}' is given twice.")
        self.aliases[alias] = (alias, table)
        self.expect("on")
        left = self.column(self.column_name())
        self.expect("=")
        right = self.column(self.column_name())
        if right[0] == alias:
            left, right = right, left
        if left[0] != alias or right[0] == alias:
            raise _unsupported("ON")
        return Link(alias, right[0], table, left[2].wire, right[2].wire, kind)

    def _names(self) -> list[ColumnName]:
        found = [self.column_name()]
        while self.accept(","):
            found.append(self.column_name())
        return found

    def column(self, name: ColumnName) -> tuple[str, Table, Column]:
        """Alias, table and column of a name. Raises 400 for one that is nowhere, or in two tables."""
        qualifier, plain = name
        if qualifier and qualifier not in self.aliases:
            raise bad_query(f"The SQL has no table '{qualifier}'.")
        places = [self.aliases[qualifier]] if qualifier else list(self.aliases.values())
        found = [
            (alias, table, column)
            for alias, table in places
            if (column := table.columns.get(plain) or table.by_wire.get(plain)) is not None
        ]
        if not found:
            raise bad_query(f"'{places[0][1].logical_name}' entity doesn't contain attribute with Name = '{plain}'.")
        if len(found) > 1:
            raise bad_query(f"The column name '{plain}' is ambiguous.")
        alias, table, column = found[0]
        asked_of(self.organization, table, alias, column)
        return found[0]

    def _outputs(self, chosen: list[_Chosen], groups: list[ColumnName], *, aggregate: bool) -> tuple[Output, ...]:
        grouped = {(alias, column.name) for alias, _, column in map(self.column, groups)}
        outputs = []
        for item in chosen:
            if item.every_row:
                outputs.append(Output(item.alias, ROOT, self.table.columns[self.table.primary_id], "count"))
                continue
            alias, _, column = self.column(item.name)
            if aggregate and not item.function and (alias, column.name) not in grouped:
                raise bad_query(f"The column '{column.name}' is neither aggregated nor in GROUP BY.")
            if item.function in {"sum", "avg"} and column.edm in {"Edm.String", "Edm.Guid", "Edm.DateTimeOffset"}:
                raise bad_query(f"'{column.name}' holds no numbers.")
            name = item.alias or (f"{alias}.{column.name}" if alias else column.wire)
            outputs.append(
                Output(name, alias, column, item.function, item.distinct, renamed=bool(item.alias) or aggregate)
            )
        if len({output.name for output in outputs}) < len(outputs):
            raise bad_query("Two columns of the answer have one name.")
        return tuple(outputs)

    def _orders(self, outputs: tuple[Output, ...], *, aggregate: bool) -> tuple[Order, ...]:
        found = []
        while True:
            name = self.column_name()
            if self.peek() == ("mark", "("):
                raise _unsupported(f"{name[1]}(")
            descending = self.accept("desc")
            if not descending:
                self.accept("asc")
            found.append(self._order(name, outputs, descending=descending, aggregate=aggregate))
            if not self.accept(","):
                return tuple(found)

    def _order(self, name: ColumnName, outputs: tuple[Output, ...], *, descending: bool, aggregate: bool) -> Order:
        qualifier, plain = name
        output = next((item for item in outputs if not qualifier and item.name.lower() == plain and item.renamed), None)
        if output is None:
            alias, _, column = self.column(name)
            if not aggregate:
                return Order(alias, column, descending=descending, by_value=True)
            output = next(
                (item for item in outputs if (item.alias, item.column.name, item.function) == (alias, column.name, "")),
                None,
            )
            if output is None:
                raise bad_query(f"An aggregated answer cannot be ordered by '{plain}', which is not in it.")
        return Order(output=output.name, descending=descending)

    # WHERE

    def _any(self) -> FrameTest:
        tests = [self._all()]
        while self.accept("or"):
            tests.append(self._all())
        return tests[0] if len(tests) == 1 else lambda frame: any(test(frame) for test in tests)

    def _all(self) -> FrameTest:
        tests = [self._one()]
        while self.accept("and"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda frame: all(test(frame) for test in tests)

    def _one(self) -> FrameTest:
        if self.accept("not"):
            inner = self._one()
            return lambda frame: not inner(frame)
        if self.accept("("):
            inner = self._any()
            self.expect(")")
            return inner
        return self._condition()

    def _condition(self) -> FrameTest:
        if self.peek()[0] != "word":
            raise _unsupported(self.peek()[1] or "its end")
        name = self.column_name()
        if self.peek() == ("mark", "("):
            raise _unsupported(f"{name[1]}(")
        alias, table, column = self.column(name)
        get = asked_of(self.organization, table, alias, column)
        operator, values = self._operator()
        if operator in {"like", "not-like"}:
            test = conditions.like(column, values[0], wanted=operator == "like")
        else:
            test = conditions.test(self.organization, column, operator, values)
        return lambda frame: test(get(frame))

    def _operator(self) -> tuple[str, list[str]]:
        negated = "not-" if self.accept("not") else ""
        if self.accept("is"):
            negated = "not-" if self.accept("not") else ""
            self.expect("null")
            return f"{negated}null", []
        if self.accept("like"):
            return f"{negated}like", [self.literal()]
        if self.accept("in"):
            self.expect("(")
            values = [self.literal()]
            while self.accept(","):
                values.append(self.literal())
            self.expect(")")
            return f"{negated}in", values
        if self.accept("between"):
            low = self.literal()
            self.expect("and")
            return f"{negated}between", [low, self.literal()]
        kind, mark = self.take()
        if kind != "mark" or mark not in _COMPARE or negated:
            raise _unsupported(mark or "its end")
        return _COMPARE[mark], [self.literal()]

    def literal(self) -> str:
        kind, text = self.take()
        if kind == "text":
            return text.removeprefix("N")[1:-1].replace("''", "'")
        if kind == "number":
            return text
        raise _unsupported(text or "its end")


def read(organization: Organization, table: Table, text: str) -> Select:
    """Raises a 400 refusal for SQL that is not read here."""
    return _Parser(organization, table, text).select()
