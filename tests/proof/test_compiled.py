"""What makes a compiled simulation trustworthy, without the minutes that compiling takes."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.proof import compiled, pairs, prove, runs
from tests.proof.native_classes import classes_of, with_native_constructors
from tests.proof.native_replace import replace as native_replace
from tests.proof.paths import ROOT
from tests.proof.runs import Workers


@pytest.fixture(scope="module")
def changed() -> Mapping[str, str]:
    """Today's sources, as mypyc gets them."""
    return compiled.prepared(compiled.sources()[0])


@pytest.fixture(scope="module")
def tree(changed: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    compiled.write(folder, {**compiled.sources()[1], **changed})
    return folder


def _stories(folder: Path, name: str) -> Mapping[str, str]:
    with Workers(folder, 1) as workers:
        (answer,) = workers.map(name, [0])
    stories: Mapping[str, str] = answer["stories"]
    return stories


def test_no_source_asks_for_a_member_of_what_mypyc_cannot_unpack(changed: Mapping[str, str]) -> None:
    """`one in (first, *others)` ends it with an internal error, and then a release run takes ten times as long."""
    comparisons = (
        (path, node)
        for path, source in changed.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn)
    )
    found = [f"{path}:{node.lineno}" for path, node in comparisons if _unpacks(node.comparators[0])]
    assert found == []


def _unpacks(node: ast.expr) -> bool:
    return isinstance(node, ast.Tuple | ast.List | ast.Set) and any(isinstance(e, ast.Starred) for e in node.elts)


@pytest.mark.parametrize("name", ["stories-of-seeds", "stories-of-pairs"])
def test_the_sources_as_mypyc_gets_them_tell_the_same_stories(tree: Path, name: str) -> None:
    assert compiled.differs(_stories(tree, name), _stories(ROOT, name)) is None


def test_a_run_that_goes_another_way_tells_another_story(tree: Path) -> None:
    broker = tree / "tests/proof/broker.py"
    before = broker.read_text()
    broker.write_text(before.replace("_START = 1000.0", "_START = 1000.5"))
    try:
        assert compiled.differs(_stories(tree, "stories-of-seeds"), _stories(ROOT, "stories-of-seeds")) == "seed 0"
    finally:
        broker.write_text(before)


def test_a_worker_that_ends_is_an_error_that_says_what_it_was_asked(tmp_path: Path) -> None:
    compiled.write(tmp_path, {"tests/proof/runs.py": "raise SystemExit(3)\n"})
    with pytest.raises(runs.Ended, match="seeds 0"), Workers(tmp_path, 1) as workers:
        list(workers.map("seeds", [0]))


def test_a_story_that_one_side_does_not_tell_is_a_difference() -> None:
    assert compiled.differs({"seed 0": "a"}, {"seed 0": "a"}) is None
    assert compiled.differs({"seed 0": "a", "seed 1": "b"}, {"seed 0": "a", "seed 1": "c"}) == "seed 1"
    assert compiled.differs({}, {"seed 2": "a"}) == "seed 2"


@pytest.mark.parametrize("edit", compiled.EDITS, ids=lambda edit: edit.path)
def test_an_edit_whose_line_is_gone_is_named(edit: compiled.Edit) -> None:
    with pytest.raises(compiled.NotBuilt, match=edit.path):
        compiled.prepared({edit.path: "nothing = None\n"})


def test_a_field_of_type_object_is_found_in_its_module(changed: Mapping[str, str]) -> None:
    fields = [path for path, source in changed.items() if "\n    trace: object" in source]
    assert fields
    assert all("from builtins import object\n" in changed[path] for path in fields)


def test_every_module_that_replaces_fields_does_so_by_the_compiled_function(changed: Mapping[str, str]) -> None:
    by_us = [path for path, source in changed.items() if "from tests.proof.native_replace import replace" in source]
    assert "writer/core/flow.py" in by_us
    assert [path for path, source in changed.items() if re.search(r"dataclasses import.*\breplace\b", source)] == []


def test_a_value_is_replaced_as_dataclasses_does_it() -> None:
    names = _module(_CLASSES)
    one = names["Derived"](1, (2,), "d")
    assert native_replace(one, a=3) == replace(one, a=3) == names["Derived"](3, (2,), "d")
    later = native_replace(names["Mutable"](of=[5]), apart=4)
    assert (later.of, later.apart, later.later) == ([5], 4, 7)
    with pytest.raises(TypeError):
        native_replace(one, nothing=1)


def test_a_build_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "compiled.json").write_text(json.dumps(["wrong.py"]))
    (tmp_path / "wrong.py").write_text("number: int = 'text'\n")
    with pytest.raises(compiled.NotBuilt, match=r"^wrong\.py:1: error: Incompatible types.*$"):
        compiled.compile_in(tmp_path)


def test_what_a_compiled_run_finds_is_what_the_interpreted_one_finds() -> None:
    piece = {"findings": [("seed 0", "I4 a plan was lost")], "of": [0, 250], "runs": 250}
    assert prove.as_interpreted(piece) == {
        **piece,
        "findings": [("seed 0", "compiled it finds something else: ['I4 a plan was lost']")],
        "compiled": [0, 250],
    }


def test_a_finding_of_a_pair_is_repeated_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    every = list(pairs.pairs())
    monkeypatch.setattr(runs, "pair", lambda place, number: ([f"{every[place].name} {number}"], True))
    assert runs.again(f"pair {every[700].name} seed 3") == [f"{every[700].name} 3"]


_CLASSES = '''
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Any

@dataclass(frozen=True, slots=True)
class Base:
    a: int
    b: tuple[int, ...] = ()

@dataclass(frozen=True, slots=True)
class Derived(Base):
    """Has a docstring."""
    c: str = "c"

    same = 8

@dataclass(slots=True, kw_only=True)
class Mutable:
    of: list[int] = field(default_factory=list)
    made: Any = field(default_factory=lambda: [1])
    later: int = field(init=False)
    apart: int = field(default=3, compare=False)

    def __post_init__(self) -> None:
        self.later = 7

@dataclass(frozen=True, slots=True, eq=False)
class Known:
    a: int

@dataclass(slots=True, order=True)
class Place:
    at: int
'''
_SHOWN = """[
    repr([Base(1), Base(1, (2,)), Derived(1), Derived(1, (), "d"), Mutable(), Mutable(of=[4], apart=5), Known(1)]),
    hash(Base(1)) == hash(Base(1)), Base(1) == Base(1), Base(1) == Base(2), Base(1) == Derived(1),
    Mutable() == Mutable(apart=9), Mutable().of is Mutable().of, Mutable.__hash__, Known(1) == Known(1),
    Base(1).__class__.__name__, Derived(1).same, Place(1) < Place(2), sorted([Place(2), Place(1)]),
]"""


def _module(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, "classes", "exec"), names)
    return names


def test_a_dataclass_with_its_constructor_written_out_behaves_as_before() -> None:
    changed = with_native_constructors(_CLASSES, {})
    assert changed.count("def __init__(self") == 5
    assert "self.same = 8" in changed, "mypyc gives each value an attribute of that name, which is unset without this"
    before, after = _module(_CLASSES), _module(changed)
    assert repr(eval(_SHOWN, after)) == repr(eval(_SHOWN, before))
    assert replace(after["Derived"](1), a=2) == after["Derived"](2)


def test_the_base_of_a_dataclass_may_be_in_another_module() -> None:
    other = _CLASSES.partition("@dataclass(slots=True, kw_only")[0]
    source = "@dataclass(frozen=True)\nclass Far(Derived):\n    d: int = 4\n"
    names = _module(with_native_constructors(other, {}))
    exec(with_native_constructors(source, classes_of(other)), names)
    assert repr(names["Far"](1, c="e")) == "Far(a=1, b=(), c='e', d=4)"
