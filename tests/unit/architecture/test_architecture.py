"""The boundaries between packages hold: vendor words stay in place, locks name no registry, the promises have tests."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

VENDOR_WORDS = re.compile(
    r"\b(phonecalls?|systemusers?|activityid|activitypointers?|regardingobjectid\w*|ownerid|statecode|statuscode"
    r"|directioncode|leftvoicemail|actualstart|actualend|actualdurationminutes|scheduledend|phonenumber"
    r"|medx_\w+|EntityDefinitions|WhoAmI|LogicalName|odata\.\w+)\b"
)
MAY_NAME_THEM = ("planner/mapping", "writer/dataverse", "simulator/")
PACKAGES = ("schemas", "runtime", "planner", "writer", "ops")
MODULES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))


def words_of(module: Path) -> str:
    """Names and strings of a module without its comments and docstrings: prose may explain what code must not know."""
    kept = []
    with tokenize.open(module) as source:
        previous = tokenize.INDENT
        for token in tokenize.generate_tokens(source.readline):
            is_docstring = token.type == tokenize.STRING and previous in (
                tokenize.INDENT,
                tokenize.NEWLINE,
                tokenize.NL,
            )
            if token.type != tokenize.COMMENT and not is_docstring:
                kept.append(token.string)
            if token.type not in (tokenize.NL, tokenize.COMMENT):
                previous = token.type
    return " ".join(kept)


@pytest.mark.parametrize("module", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_vendor_words_stay_in_the_mapping_the_dataverse_edge_and_the_simulator(module: Path) -> None:
    if module.relative_to(ROOT).as_posix().startswith(MAY_NAME_THEM):
        return
    assert sorted(set(VENDOR_WORDS.findall(words_of(module)))) == []


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda p: p.stem)
def test_locks_pin_every_package_by_hash_and_name_no_registry(lock: Path) -> None:
    text = lock.read_text()
    assert not re.search(r"https?://|--index-url|--find-links", text)
    packages = re.findall(r"^[a-z0-9]\S*==", text, re.MULTILINE)
    assert packages
    assert len(packages) == len(re.findall(r"^[a-z0-9]\S*==.*\\\n    --hash=sha256:", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("service", "must_not_carry"),
    [("planner", {"httpx", "azure-identity", "msal"}), ("writer", {"faust-streaming", "phonenumbers", "aiokafka"})],
)
def test_an_image_carries_no_library_of_the_other_service(service: str, must_not_carry: set[str]) -> None:
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / f"{service}.txt").read_text(), re.MULTILINE))
    assert not locked & must_not_carry


def test_every_promise_has_a_test_that_carries_its_name() -> None:
    promises = [f"P{n}" for n in range(1, 9)] + [f"W{n}" for n in range(1, 10)] + [f"B{n}" for n in range(1, 4)]
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [promise for promise in promises if f"def test_{promise}_" not in tests] == []


def test_every_fault_of_the_ancestor_has_a_test_that_carries_its_number() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [n for n in range(1, 20) if f"def test_fault_{n:02d}_" not in tests] == []


def test_a_process_on_faust_leaves_no_folders_where_it_is_started() -> None:
    """Faust makes three, unless an app says otherwise."""
    folders = [ROOT / each for each in (*PACKAGES, "simulator", "bench", "tests")]
    sources = {path: path.read_text() for each in folders for path in each.rglob("*.py")}
    makers = [path for path, text in sources.items() if path != Path(__file__) and "faust.App(" in text]
    apps = [path for path, text in sources.items() if path != Path(__file__) and "(faust.App)" in text]
    assert makers == []
    assert apps
    assert [path for path in apps if "def _create_directories(self)" not in sources[path]] == []
