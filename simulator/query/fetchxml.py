"""`?fetchXml=` read into a plan: joins of every kind, filters, aggregates, order, pages.

Every element and attribute of the language is decided on here: built, without any effect in a simulator (and why), or
refused in plain words. One that is not in these tables is refused.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote
from xml.etree import ElementTree

from simulator import errors
from simulator.crm.organization import Organization
from simulator.errors import bad_query
from simulator.query import conditions
from simulator.query.options import MAX_PAGE, whole
from simulator.query.plan import (
    FUNCTIONS,
    MAX_AGGREGATED,
    MAX_LINKS,
    ROOT,
    Frame,
    FrameTest,
    Link,
    Order,
    Output,
    Plan,
    asked_of,
    asks,
    tables_of,
)
from simulator.schema import Column, Table
from simulator.store.memory import fold

Element = ElementTree.Element
MAX_CONDITIONS = 500
JOINS = frozenset({"inner", "outer", "exists", "in", "matchfirstrowusingcrossapply"})
FILTERING = frozenset({"any", "not any", "all", "not all"})
GROUPINGS = frozenset({"day", "week", "month", "quarter", "year", "fiscal-period", "fiscal-year"})
_ALIAS = re.compile(r"^[A-Za-z_]\w*$")

# What an attribute of an element does here: "built", or why it has no effect, or (after "refused: ") why it is refused.
_NO_LOCKS = "no effect: nothing is locked here"
_HINT = "no effect: a hint for the database, which changes no result"
_OF_FORMS = "no effect: only a designer's forms show it"
DECISIONS: dict[str, dict[str, str]] = {
    "fetch": {
        "aggregate": "built", "aggregatelimit": "built", "count": "built", "distinct": "built", "page": "built",
        "paging-cookie": "built: has to be one that was given; page says which", "top": "built",
        "returntotalrecordcount": "built",
        "mapping": "built: logical, the only mapping that there is", "no-lock": _NO_LOCKS, "options": _HINT,
        "latematerialize": _HINT, "useraworderby": "built", "version": "no effect: there is one version",
        "output-format": "no effect: the Web API answers in JSON whatever it says",
        "savedqueryid": "no effect: it says where a query came from",
        "datasource": "refused: there is no long-term retention here",
        "utc-offset": "refused: days are those of UTC here",
        "min-active-row-version": "refused: row versions are not bound to transactions here",
    },
    "entity": {
        "name": "built", "enableprefiltering": "refused: there are no reports here",
        "prefilterparametername": "refused: there are no reports here",
    },
    "all-attributes": {},
    "attribute": {
        "name": "built", "alias": "built", "aggregate": "built", "groupby": "built", "dategrouping": "built",
        "distinct": "built", "usertimezone": "built: every user's time zone is UTC here",
        "rowaggregate": "refused: there are no hierarchies here",
    },
    "order": {"attribute": "built", "alias": "built", "descending": "built", "entityname": "built"},
    "filter": {
        "type": "built", "isquickfindfields": "refused: there is no quick find here",
        "overridequickfindrecordlimitenabled": "refused: there is no quick find here",
        "overridequickfindrecordlimitdisabled": "refused: there is no quick find here", "hint": _HINT,
    },
    "condition": {
        "attribute": "built", "operator": "built", "value": "built", "valueof": "built", "entityname": "built",
        "uiname": _OF_FORMS, "uitype": _OF_FORMS, "uihidden": _OF_FORMS,
        "aggregate": "refused: a condition on an aggregate is not documented",
        "alias": "refused: a condition on an alias is not documented",
        "column": "refused: attribute names the column", "rowaggregate": "refused: there are no hierarchies here",
    },
    "value": {"uiname": _OF_FORMS, "uitype": _OF_FORMS},
    "link-entity": {
        "name": "built", "from": "built", "to": "built", "alias": "built", "link-type": "built",
        "intersect": "no effect: it only says that the table is an intersect table", "visible": _OF_FORMS,
        "enableprefiltering": "refused: there are no reports here",
        "prefilterparametername": "refused: there are no reports here",
    },
}  # fmt: skip
_CHILDREN = {
    "fetch": {"entity"},
    "entity": {"all-attributes", "attribute", "order", "filter", "link-entity"},
    "link-entity": {"all-attributes", "attribute", "order", "filter", "link-entity"},
    "filter": {"condition", "filter", "link-entity"},
    "condition": {"value"},
}


def check(element: Element) -> None:
    """Raises a refusal for everything in the query that has no meaning here."""
    known = DECISIONS[element.tag]
    for name in element.attrib:
        decision = known.get(name)
        if decision is None:
            raise bad_query(f"Invalid XML: the element '{element.tag}' has no attribute '{name}'.")
        if decision.startswith("refused"):
            raise errors.not_built(f"'{name}' on '{element.tag}' in FetchXML{decision.removeprefix('refused')}")
    for child in element:
        if child.tag not in _CHILDREN.get(element.tag, ()):
            raise bad_query(f"Invalid XML: the element '{element.tag}' holds no '{child.tag}'.")
        check(child)


def truth(element: Element, name: str) -> bool:
    """A yes or no. Raises 400 for anything else."""
    text = element.get(name, "false").lower()
    if text not in {"true", "false", "1", "0"}:
        raise bad_query(f"'{name}' is true or false, not '{text}'.")
    return text in {"true", "1"}


def required(element: Element, name: str) -> str:
    text = element.get(name)
    if not text:
        raise bad_query(f"Invalid XML: the element '{element.tag}' needs the attribute '{name}'.")
    return text


def column_named(table: Table, name: str) -> Column:
    column = table.columns.get(name)
    if column is None:
        raise bad_query(f"'{table.logical_name}' entity doesn't contain attribute with Name = '{name}'.")
    return column


def positive(name: str, text: str) -> int:
    number = whole(name, text)
    if number == 0:
        raise bad_query(f"'{name}' counts from 1.")
    return number


@dataclass
class _Scope:
    """One table of the query: under which alias, and what was read of it."""

    table: Table
    alias: str
    outputs: list[Output] = field(default_factory=list)
    everything: bool = False


class Fetch:
    """A parsed query: its plan, and which page of how many lines it asks for."""

    def __init__(self, organization: Organization, table: Table, text: str) -> None:
        self.organization = organization
        root = _parse(text)
        entity = next(iter(root), None)
        if root.tag != "fetch" or entity is None or len(root) != 1 or entity.get("name") != table.logical_name:
            raise bad_query("The FetchXML names another entity than the URL.")
        check(root)
        _check_size(root)
        self.top = positive("top", root.attrib["top"]) if "top" in root.attrib else None
        if self.top is not None and self.top > MAX_PAGE:
            raise bad_query(f"The top attribute cannot exceed {MAX_PAGE}.")
        if self.top is not None and {"count", "page"} & root.attrib.keys():
            raise bad_query("The top attribute can't be specified with paging attribute page.")
        if root.get("mapping", "logical") != "logical":
            raise bad_query("The mapping attribute is logical.")
        self.page = positive("page", root.get("page", "1"))
        _check_cookie(root.get("paging-cookie", ""))
        self.count = min(positive("count", root.get("count", str(MAX_PAGE))), MAX_PAGE)
        self.counted = truth(root, "returntotalrecordcount")
        self.aggregate = truth(root, "aggregate")
        self.by_value = truth(root, "useraworderby")
        self._scopes: dict[str, _Scope] = {}
        self._late = False
        self._orders: list[Order] = []
        self._numbers = iter(range(1, 1000))
        self._aliases: dict[Element, str] = {entity: ROOT}
        limit = positive("aggregatelimit", root.get("aggregatelimit", str(MAX_AGGREGATED)))
        if limit > MAX_AGGREGATED:
            raise bad_query(f"The aggregatelimit attribute cannot exceed {MAX_AGGREGATED}.")
        self.plan = self._plan(entity, table, distinct=truth(root, "distinct"), limit=limit)

    def _plan(self, entity: Element, table: Table, *, distinct: bool, limit: int) -> Plan:
        scope = self._scopes[ROOT] = _Scope(table, ROOT)
        self._columns(entity, scope)
        links = tuple(self._link(item, scope) for item in entity.findall("link-entity"))
        tests = [self._filter(item, scope) for item in entity.findall("filter")]
        for element in (entity, *entity.iter("link-entity")):
            self._read_orders(element)
        outputs = [output for held in self._scopes.values() for output in held.outputs]
        names = [output.name for output in outputs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise bad_query(f"The column '{twice}' appears twice in the answer.")
        if self.aggregate and not any(output.function or output.renamed for output in outputs):
            raise bad_query("An aggregate query needs attributes with an alias, and an aggregate or a group.")
        everything = scope.everything or not (scope.outputs or distinct or self.aggregate)
        test = _both(tests)
        return Plan(
            table, links, None if self._late else test, test if self._late else None, tuple(outputs),
            tuple(self._orders), self.aggregate, distinct, limit, everything,
        )  # fmt: skip

    def _columns(self, element: Element, scope: _Scope) -> None:
        if element.find("all-attributes") is not None:
            if self.aggregate:
                raise bad_query("all-attributes cannot be part of an aggregate query.")
            scope.everything = True
            if any("alias" in item.attrib for item in element.findall("attribute")):
                raise errors.not_built("an alias of an attribute beside all-attributes")
        chosen = [self._attribute(item, scope) for item in element.findall("attribute")]
        if scope.everything and scope.alias:
            chosen = [self._shown(scope, column) for column in scope.table.columns.values()]
        scope.outputs = [] if scope.everything and not scope.alias else chosen

    def _shown(self, scope: _Scope, column: Column) -> Output:
        return Output(f"{scope.alias}.{column.name}" if scope.alias else column.wire, scope.alias, column)

    def _attribute(self, element: Element, scope: _Scope) -> Output:
        column = column_named(scope.table, required(element, "name"))
        alias = element.get("alias", "")
        if alias and not _ALIAS.match(alias):
            raise bad_query(f"The alias '{alias}' is not a name.")
        function, part = element.get("aggregate", ""), element.get("dategrouping", "")
        grouped = truth(element, "groupby")
        truth(element, "usertimezone")
        if not self.aggregate:
            if function or grouped or part or "distinct" in element.attrib:
                raise bad_query("aggregate, groupby, dategrouping and distinct need aggregate='true' on fetch.")
            return Output(alias, scope.alias, column, renamed=True) if alias else self._shown(scope, column)
        if not alias or bool(function) == grouped:
            raise bad_query(f"'{column.name}' in an aggregate query needs an alias, and an aggregate or a group.")
        if function and function not in FUNCTIONS:
            raise bad_query(f"'{function}' is not an aggregate.")
        numbers = {"Edm.Int32", "Edm.Int64", "Edm.Decimal", "Edm.Double"}
        if function in {"sum", "avg"} and column.edm not in numbers:
            raise bad_query(f"'{column.name}' holds no numbers, so it has no {function}.")
        if part and (part not in GROUPINGS or not grouped or not column.edm.startswith("Edm.Date")):
            raise bad_query(f"'{part}' is not a part of a date that '{column.name}' could be grouped by.")
        distinct = truth(element, "distinct")
        if distinct and function != "countcolumn":
            raise bad_query("distinct goes with the aggregate countcolumn.")
        return Output(alias, scope.alias, column, function, distinct, part, renamed=True)

    def _link(self, element: Element, parent: _Scope, kinds: frozenset[str] = JOINS) -> Link:
        table = self.organization.schema.by_name.get(required(element, "name"))
        if table is None:
            raise bad_query(f"There is no table '{element.get('name')}'.")
        self.organization.allow_reader(table)
        kind = element.get("link-type", "inner")
        if kind not in kinds:
            raise bad_query(f"The link-type '{kind}' cannot be used here.")
        alias = element.get("alias") or f"{table.logical_name}{next(self._numbers)}"
        if alias in self._scopes:
            raise bad_query(f"The alias '{alias}' is given twice.")
        scope = self._scopes[alias] = _Scope(table, alias)
        self._aliases[element] = alias
        self._columns(element, scope)
        if scope.outputs and kind in {"exists", "in", *FILTERING}:
            raise bad_query(f"A link of type '{kind}' returns no columns.")
        here = column_named(table, required(element, "from"))
        there = column_named(parent.table, required(element, "to"))
        if element.find("order") is not None and kind in {"exists", "in", *FILTERING}:
            raise bad_query(f"A link of type '{kind}' orders nothing.")
        inner = tuple(self._link(item, scope) for item in element.findall("link-entity"))
        for held, column in ((scope, here), (parent, there)):
            asked_of(self.organization, held.table, held.alias, column)
        test = _both([self._filter(item, scope) for item in element.findall("filter")])
        return Link(alias, parent.alias, table, here.wire, there.wire, kind, test, inner)

    def _filter(self, element: Element, scope: _Scope) -> FrameTest:
        kind = element.get("type", "and").lower()
        if kind not in {"and", "or"}:
            raise bad_query(f"A filter is of type and or or, not '{kind}'.")
        tests = [self._member(item, scope) for item in element]
        if not tests:
            return lambda _: True
        return _both(tests) if kind == "and" else _either(tests)

    def _member(self, element: Element, scope: _Scope) -> FrameTest:
        if element.tag == "filter":
            return self._filter(element, scope)
        if element.tag == "link-entity":
            link = self._link(element, scope, FILTERING)
            return lambda frame: asks(self.organization, frame, link)
        return self._condition(element, scope)

    def _condition(self, element: Element, scope: _Scope) -> FrameTest:
        if "entityname" in element.attrib:
            scope = self._named(element.attrib["entityname"])
            self._late = self._late or scope.alias != ROOT
        column = column_named(scope.table, required(element, "attribute"))
        operator = required(element, "operator")
        get = asked_of(self.organization, scope.table, scope.alias, column)
        if "valueof" in element.attrib:
            if "value" in element.attrib or element.find("value") is not None:
                raise bad_query("A condition has a value or a valueof.")
            return self._columns_compared(element, scope, (operator, column, get))
        values = [item.text or "" for item in element.findall("value")]
        if "value" in element.attrib:
            if values:
                raise bad_query("A condition has one value in an attribute, or several in elements.")
            values = [element.attrib["value"]]
        test = conditions.test(self.organization, column, operator, values)
        return lambda frame: test(get(frame))

    def _columns_compared(
        self, element: Element, scope: _Scope, left: tuple[str, Column, Callable[[Frame], object]]
    ) -> FrameTest:
        operator, column, get = left
        alias, _, name = element.attrib["valueof"].rpartition(".")
        if alias:
            scope = self._named(alias)
            self._late = True
        other = column_named(scope.table, name)
        if column.edm != other.edm:
            raise bad_query(f"'{column.name}' and '{other.name}' are of different types.")
        get_other = asked_of(self.organization, scope.table, scope.alias, other)
        if operator not in {"eq", "ne", "neq", *conditions.COMPARE}:
            raise bad_query(f"The operator '{operator}' compares no columns.")
        operator = {"neq": "ne"}.get(operator, operator)
        return lambda frame: conditions.compare(operator, fold(get_other(frame)))(get(frame))

    def _named(self, name: str) -> _Scope:
        """The table that `entityname` means: an alias, or the name of a link without one."""
        if name in self._scopes:
            return self._scopes[name]
        found = [scope for scope in self._scopes.values() if scope.table.logical_name == name]
        if not found:
            raise bad_query(f"The query links no table under the name '{name}'.")
        return found[0]

    def _read_orders(self, element: Element) -> None:
        alias = self._aliases[element]
        for order in element.findall("order"):
            descending = truth(order, "descending")
            if "alias" in order.attrib:
                if {"attribute", "entityname"} & order.attrib.keys():
                    raise bad_query("An order names an alias or an attribute.")
                known = {output.name for scope in self._scopes.values() for output in scope.outputs if output.renamed}
                if order.attrib["alias"] not in known:
                    raise bad_query(f"No attribute has the alias '{order.attrib['alias']}'.")
                self._orders.append(Order(output=order.attrib["alias"], descending=descending))
                continue
            if self.aggregate:
                raise bad_query("An attribute can not be specified for an order by clause for an aggregate Query.")
            scope = self._named(order.get("entityname", alias))
            column = column_named(scope.table, required(order, "attribute"))
            self._orders.append(Order(scope.alias, column, descending=descending, by_value=self.by_value))

    def cookie(self) -> str:
        """What the caller sends back for the next page, encoded twice as the service does."""
        inner = quote(quote(f'<cookie page="{self.page}"></cookie>', safe=""), safe="")
        return f'<cookie pagenumber="{self.page + 1}" pagingcookie="{inner}" istracking="False" />'


def _check_cookie(text: str) -> None:
    """A cookie has to be one that an answer gave; which page it is follows from the page number beside it."""
    if not text:
        return
    try:
        cookie = ElementTree.fromstring(unquote(unquote(text)))  # noqa: S314 - as below
    except ElementTree.ParseError:
        cookie = None
    if cookie is None or cookie.tag != "cookie" or "page" not in cookie.attrib:
        raise bad_query("Malformed XML in the Paging Cookie.")


def _parse(text: str) -> Element:
    try:
        # The text comes from a client of a simulator on the same machine; entities are refused all the same.
        if "<!" in text:
            raise bad_query("Invalid XML: no document types.")
        return ElementTree.fromstring(text)  # noqa: S314 - document types and entities are refused above
    except ElementTree.ParseError as error:
        raise bad_query(f"Invalid XML: {error}.") from None


def _check_size(root: Element) -> None:
    links = sum(1 for _ in root.iter("link-entity"))
    if links > MAX_LINKS:
        raise errors.Refusal(400, "0x8004430d", "Number of link entities in query exceeded maximum limit.")
    if links + sum(1 for _ in root.iter("condition")) > MAX_CONDITIONS:
        raise errors.Refusal(400, "0x8004430c", "Number of conditions in query exceeded maximum limit.")


def _both(tests: list[FrameTest]) -> FrameTest:
    return lambda frame: all(test(frame) for test in tests)


def _either(tests: list[FrameTest]) -> FrameTest:
    return lambda frame: any(test(frame) for test in tests)


__all__ = ["DECISIONS", "Fetch", "tables_of"]
