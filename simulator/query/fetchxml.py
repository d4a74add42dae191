"""`?fetchXml=`: one entity with attributes, filters, orders, top and paging, translated into query options.

Linked entities and aggregates are refused in plain words.
"""

from urllib.parse import quote
from xml.etree import ElementTree

from simulator.errors import bad_query
from simulator.query.options import MAX_PAGE, Options, whole
from simulator.query.sql import like
from simulator.schema import Kind, Table

_COMPARE = {"eq": "eq", "ne": "ne", "neq": "ne", "gt": "gt", "ge": "ge", "lt": "lt", "le": "le"}


def _positive(name: str, text: str) -> int:
    number = whole(name, text)
    if number == 0:
        raise bad_query(f"'{name}' counts from 1.")
    return number


class Fetch:
    """A parsed query: its options, and which page of how many rows it asks for."""

    def __init__(self, table: Table, text: str) -> None:
        try:
            # The text comes from a client of a simulator on the same machine; entities are refused all the same.
            if "<!" in text:
                raise bad_query("Invalid XML: no document types.")
            root = ElementTree.fromstring(text)  # noqa: S314 - document types and entities are refused above
        except ElementTree.ParseError as error:
            raise bad_query(f"Invalid XML: {error}.") from None
        entity = root.find("entity")
        if root.tag != "fetch" or entity is None or entity.get("name") != table.logical_name:
            raise bad_query("The FetchXML names another entity than the URL.")
        if root.get("aggregate") == "true" or entity.find("link-entity") is not None:
            raise bad_query("Aggregates and linked entities are not supported in FetchXML here.")
        self.table = table
        self.page = _positive("page", root.get("page", "1"))
        self.count = min(_positive("count", root.get("count", str(MAX_PAGE))), MAX_PAGE)
        orders = [(str(order.get("attribute")), order.get("descending") == "true") for order in entity.findall("order")]
        top = root.get("top")
        self.options = Options(
            select=tuple(str(item.get("name")) for item in entity.findall("attribute")),
            filter=" and ".join(self._filter(item) for item in entity.findall("filter")),
            orderby=tuple(orders),
            top=whole("top", top) if top else None,
            page_size=MAX_PAGE,
        )

    def _filter(self, element: ElementTree.Element) -> str:
        parts = [self._filter(item) if item.tag == "filter" else self._condition(item) for item in element]
        if not parts:
            return f"{self.table.primary_id} ne null"
        return "(" + f" {element.get('type', 'and')} ".join(parts) + ")"

    def _condition(self, element: ElementTree.Element) -> str:
        name, operator = str(element.get("attribute")), str(element.get("operator"))
        value = element.get("value", "")
        values = [item.text or "" for item in element.findall("value")]
        if operator in _COMPARE:
            return f"{name} {_COMPARE[operator]} {self._literal(name, value)}"
        quoted = value.replace("'", "''")
        match operator:
            case "null" | "not-null":
                return f"{name} {'eq' if operator == 'null' else 'ne'} null"
            case "like" | "not-like":
                return f"{'not ' if operator == 'not-like' else ''}{like(name, quoted)}"
            case "begins-with":
                return f"startswith({name},'{quoted}')"
            case "ends-with":
                return f"endswith({name},'{quoted}')"
            case "in" | "not-in":
                members = ",".join(self._literal(name, item) for item in values)
                return f"{'not ' if operator == 'not-in' else ''}({name} in ({members}))"
            case "between" if len(values) == 2:
                low, high = (self._literal(name, item) for item in values)
                return f"({name} ge {low} and {name} le {high})"
        raise bad_query(f"The condition operator '{operator}' is not supported in FetchXML here.")

    def _literal(self, name: str, value: str) -> str:
        column = self.table.columns.get(name)
        if column is None:
            raise bad_query(f"'{self.table.logical_name}' entity doesn't contain attribute with Name = '{name}'.")
        if column.kind is Kind.BOOLEAN:
            return "true" if value in {"1", "true"} else "false"
        text = column.kind in {Kind.STRING, Kind.MEMO, Kind.ENTITY_NAME}
        return "'" + value.replace("'", "''") + "'" if text else value

    def cookie(self) -> str:
        """What the caller sends back for the next page, encoded twice as the service does."""
        inner = quote(quote(f'<cookie page="{self.page}"></cookie>', safe=""), safe="")
        return f'<cookie pagenumber="{self.page + 1}" pagingcookie="{inner}" istracking="False" />'
