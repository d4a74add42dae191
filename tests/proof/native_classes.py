"""Dataclasses as mypyc compiles them best: the constructor written out, and fields that may be set.

The constructor that `dataclasses` makes stays interpreted code, and a frozen one sets each field by
`object.__setattr__`: most of what the simulation does is to make small values, so compiled they would be as slow as
before. A constructor in the source is compiled. `frozen=True` has to go with it, because the constructor sets the
fields; the hash stays. The interpreted runs and mypy watch that nobody changes a value.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class _Field:
    """`fixed`: the same for all, as `settles = True` in the body of a class."""

    name: str
    type: str
    default: str | None
    factory: str | None
    of_init: bool
    fixed: bool = False

    @property
    def parameter(self) -> str:
        if self.factory is not None:
            return f"{self.name}: {self.type} | None = None"
        return f"{self.name}: {self.type}" + (f" = {self.default}" if self.default is not None else "")

    @property
    def set(self) -> str:
        if self.fixed:
            return f"self.{self.name} = {self.default}"
        given = f"{self.name} if {self.name} is not None else ({self.factory})()" if self.factory else self.name
        return f"self.{self.name} = {given}"


Classes = Mapping[str, ast.ClassDef]


def classes_of(source: str) -> Classes:
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}


def with_native_constructors(source: str, others: Classes) -> str:
    """The same module. `others`: the classes of other modules, which a dataclass may have for its base."""
    lines = source.split("\n")
    own = classes_of(source)
    for node in reversed(list(own.values())):
        decorator = _decorator(node)
        if decorator is None or "__init__" in _methods(node):
            continue
        fields = _fields(node, own, others)
        at = decorator.lineno - 1
        options = _options(decorator)
        lines[node.end_lineno or 0 : node.end_lineno or 0] = _constructor(node, fields, options)
        lines[at : decorator.end_lineno] = [f"@dataclass({_without_frozen(options)})"]
    return "\n".join(lines)


def _decorator(node: ast.ClassDef) -> ast.expr | None:
    for one in node.decorator_list:
        name = one.func if isinstance(one, ast.Call) else one
        if isinstance(name, ast.Name) and name.id == "dataclass":
            return one
    return None


def _options(decorator: ast.expr) -> Mapping[str, bool]:
    given = decorator.keywords if isinstance(decorator, ast.Call) else []
    return {each.arg or "": ast.unparse(each.value) == "True" for each in given}


def _without_frozen(options: Mapping[str, bool]) -> str:
    kept = {name: on for name, on in options.items() if name not in ("frozen", "slots")}
    if options.get("frozen") and options.get("eq", True):
        kept["unsafe_hash"] = True
    return ", ".join(f"{name}={on}" for name, on in kept.items())


def _methods(node: ast.ClassDef) -> set[str]:
    return {each.name for each in node.body if isinstance(each, ast.FunctionDef)}


def _fields(node: ast.ClassDef, own: Classes, others: Classes) -> list[_Field]:
    """Those of its bases come first. What another module's types are called is not known here."""
    fields: dict[str, _Field] = {}
    for base in node.bases:
        name = ast.unparse(base).partition("[")[0]
        if name in own:
            fields |= {each.name: each for each in _fields(own[name], own, others)}
        elif name not in ("Protocol", "Generic"):
            fields |= {each.name: replace(each, type="Any") for each in _fields(others[name], others, others)}
    return list((fields | {each.name: each for each in _own(node)}).values())


def _own(node: ast.ClassDef) -> Iterator[_Field]:
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            yield _field(each.target.id, ast.unparse(each.annotation), each.value)
        elif isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            # mypyc gives each value an attribute of that name, which a constructor of our own has to set.
            yield _Field(each.targets[0].id, "", ast.unparse(each.value), None, of_init=False, fixed=True)


def _field(name: str, kind: str, value: ast.expr | None) -> _Field:
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        options = {each.arg: ast.unparse(each.value) for each in value.keywords}
        factory, default = options.get("default_factory"), options.get("default")
        return _Field(name, kind, default, factory, options.get("init") != "False")
    return _Field(name, kind, None if value is None else ast.unparse(value), None, of_init=True)


def _constructor(node: ast.ClassDef, fields: Iterable[_Field], options: Mapping[str, bool]) -> list[str]:
    given = [each for each in fields if each.of_init]
    parameters = ["self", *(["*"] if options.get("kw_only") else []), *(each.parameter for each in given)]
    after = ["self.__post_init__()"] if "__post_init__" in _methods(node) else []
    body = [*(each.set for each in fields if each.of_init or each.fixed), *after] or ["pass"]
    return ["", f"    def __init__({', '.join(parameters)}) -> None:", *(f"        {line}" for line in body), ""]
