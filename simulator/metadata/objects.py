"""`$select`, `$filter` and `$expand` on metadata objects, which are plain JSON here."""

import operator as operators
from collections.abc import Callable, Mapping
from typing import Any

from simulator import errors
from simulator.query import options as query
from simulator.query import syntax
from simulator.query.options import Expand, Options

Json = dict[str, Any]
Collections = Mapping[str, Callable[[], list[Json]]]
_ORDER = {"gt": operators.gt, "ge": operators.ge, "lt": operators.lt, "le": operators.le}
_ALWAYS = ("@odata.type", "MetadataId")


ONE = frozenset({"$select", "$expand"})
LISTED = ONE | {"$filter", "$top", "$count"}


def read_options(text: str, allowed: frozenset[str] = LISTED) -> Options:
    """Metadata has no pages and no order. Raises 400 for what else it is asked with."""
    given = query.parameters(text)
    language = given.pop("LabelLanguages", "1033")
    if language != "1033":
        raise errors.not_built(f"labels in the language {language}: 1033 is the only one")
    return query.read(given, {}, allowed, "metadata")


def matches(item: Json, node: syntax.Node) -> bool:
    """Whether a metadata object passes a filter. Raises 400 for a property that no such object has."""
    match node:
        case syntax.Both(parts):
            return all(matches(item, part) for part in parts)
        case syntax.Either(parts):
            return any(matches(item, part) for part in parts)
        case syntax.Not(part):
            return not matches(item, part)
        case syntax.Compare(operator, left, right):
            return _compare(operator, _value(item, left), _value(item, right))
        case syntax.Function(name, (left, right)) if name in {"contains", "startswith", "endswith"}:
            return _text(name, str(_value(item, left) or ""), str(_value(item, right)))
        case syntax.Function("in", (left, *rest)):
            return _value(item, left) in [_value(item, part) for part in rest]
        case syntax.Path():
            return _value(item, node) is True
    raise errors.bad_query("The query specified in the URI is not valid.")


def _text(name: str, held: str, part: str) -> bool:
    held, part = held.lower(), part.lower()
    return (
        part in held if name == "contains" else held.startswith(part) if name == "startswith" else held.endswith(part)
    )


def _value(item: Json, node: syntax.Node) -> Any:
    match node:
        case syntax.Literal(value):
            return value
        case syntax.Path(parts):
            held: Any = item
            for part in parts:
                if not isinstance(held, dict) or part not in held:
                    raise errors.Refusal(
                        400,
                        "0x0",
                        f"Could not find a property named '{part}' on type 'Microsoft.Dynamics.CRM.MetadataBase'.",
                    )
                held = held[part]
            return held
    raise errors.bad_query("The query specified in the URI is not valid.")


def _compare(operator: str, left: Any, right: Any) -> bool:
    if operator in {"eq", "ne"}:
        return bool(left == right) == (operator == "eq")
    if left is None or right is None:
        return False
    try:
        return bool(_ORDER[operator](left, right))
    except TypeError:
        raise errors.bad_query("A binary operator with incompatible types was detected.") from None


def shown(item: Json, options: Options, collections: Collections, hidden: frozenset[str] = frozenset()) -> Json:
    """One object under `$select` and `$expand`. `hidden` properties show only when expanded.

    Raises 400 for a property that the type does not have.
    """
    if options.select:
        unknown = next((name for name in options.select if name not in item or name in hidden), None)
        if unknown:
            raise errors.Refusal(
                400,
                "0x0",
                f"Could not find a property named '{unknown}' on type 'Microsoft.Dynamics.CRM.{_type(item)}'.",
            )
        out = {name: item[name] for name in item if name in options.select or name in _ALWAYS}
    else:
        out = {name: value for name, value in item.items() if name not in hidden}
    for expand in options.expand:
        out[expand.navigation] = _expanded(item, expand, collections)
    return out


def _expanded(item: Json, expand: Expand, collections: Collections) -> Any:
    if expand.navigation in collections:
        return listed(collections[expand.navigation](), expand.options)
    if expand.navigation in item:
        inner = item[expand.navigation]
        return shown(inner, expand.options, {}) if isinstance(inner, dict) else inner
    raise errors.Refusal(
        400,
        "0x0",
        f"Could not find a property named '{expand.navigation}' on type 'Microsoft.Dynamics.CRM.{_type(item)}'.",
    )


def listed(
    items: list[Json], options: Options, collections: Collections | None = None, hidden: frozenset[str] = frozenset()
) -> list[Json]:
    """Objects under all options. A property that none of them has is refused, whether a filter leaves any or not."""
    found = items
    if options.filter:
        node = syntax.parse(options.filter)
        found = [item for item in items if matches(item, node)]
    if options.top is not None:
        found = found[: options.top]
    if items and not found:
        shown({name: value for item in items for name, value in item.items()}, options, collections or {}, hidden)
    return [shown(item, options, collections or {}, hidden) for item in found]


def counted(body: Json, items: list[Json], options: Options) -> Json:
    """The body with `@odata.count`, when it was asked for: how many pass the filter, whatever `$top` leaves."""
    if not options.count:
        return body
    node = syntax.parse(options.filter) if options.filter else None
    return body | {"@odata.count": sum(node is None or matches(item, node) for item in items)}


def _type(item: Json) -> str:
    name = str(item.get("@odata.type", "EntityMetadata"))
    return name.rsplit(".", 1)[-1]
