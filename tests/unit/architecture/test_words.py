"""The words are the field's, and English is plain: no text that a person reads contains a word of the left-hand column.

To add a word is to add a row.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

IN_ANY_TEXT = {
    r"\brehears\w*": "dry run",
    r"\b(the|a|our|tests/unit/) ?house\b": "layout",
    r"\brooms\b": "packages",
    r"\b(for ever|forever)\b": "without end, or say until when",
    r"\bso long\b": "for this long",
    r"\bwhoever\b": "name the subject: the owner, the reader, a client",
    r"(?<!\bthere )\bis no (?!longer\b)(?=[a-z])": "is not a",
    r"\b(stands|stood)\b": "is, exists, remains",
    r"\btold\b": "published, logged, asked",
    r"\bmend(s|ed|ing)?\b": "correct, repair, remedy",
    r"\bknock(s|ed|ing)?\b": "probe",
    r"\bback of the topic\b": "requeued",
    r"\bappended again\b": "requeued",
    r"\breplay-count\b": "requeue-count",
}
"""Pattern, whatever the case, to what to write instead."""

IN_NAMES = {
    r"[Pp]atience|may_try|[Kk]nock\w*": "retry policy, probe_at",
    r"Taken|Assigned|Outbox|Work": "ConsumerRecord, AssignedPartition, WriterTopics, PlanInFlight",
    r"one_word_at_a_time|last_word|doubted|Seen|under_way": "publish lock, outcome published, rechecked, Prefetched",
    r"Telling|Round|told": "ResultContext, ExchangeResult, on_result",
    r"Facts|FactsUnavailable|shown_as": "MetadataCache, MetadataUnavailable, read_property_of",
    r"greet|Climb": "who_am_i, ConcurrencyClimber",
    r"SomebodyElses": "ForeignRecord",
    r"Desk|_Fresh|Tenure|turned|keep_only": "Decider, _BatchPins, DeferredEviction, batch_done, assigned",
    r"KeepingFlow|CarefulConsumer|_Unless|read_carefully": "NonDroppingFlow, LosslessConsumer, _GuardedOffsets",
    r"elsewise|opaque": "exclusions, encoded",
    r"BUSY|BROKEN|REFUSED": "THROTTLED, TRANSIENT, PERMANENT",
}
"""Whole identifiers, to the field's names."""

IN_NAMES_OF_THE_WRITER = {r"heard|said": "replies, steps"}
"""In the planner, numbers are really said."""

EXEMPT = {
    "schemas/released/": "a released schema is never touched again",
    "tests/": "tests speak of what must not happen; their names are their rooms' business",
    "LICENSE": "not ours",
    "requirements/": "package names",
}

OLD_NAMES = "\n### Renamed since "
"""Below this heading the changelog names what was renamed."""

TWO_MEANINGS = {
    "Operation": "of an ACL in runtime/, of a plan's step in schemas/; no module uses both",
    "Kind": "of a broker's error in runtime/, of Dataverse's reply in writer/; no module uses both",
    "Gap": "in a topic's retention in runtime/, in the metadata in writer/; no module uses both",
}


def listed(*patterns: str) -> list[str]:
    asked = ["git", "ls-files", "-co", "--exclude-standard", *patterns]
    found = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(name for name in found if not name.startswith(tuple(EXEMPT)) and (ROOT / name).is_file())


TEXTS = listed("*.py", "*.md", "*.avsc", "*.toml", "*.yaml", "*.yml", "*.tpl", "*.txt", "*.js", "*.html", "*.sh")
TEXTS = sorted({*TEXTS, *listed("Makefile", "Dockerfile", ".ci")})
CODE = listed("schemas/*.py", "runtime/*.py", "planner/*.py", "writer/*.py", "ops/*.py")


def words(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, better in IN_ANY_TEXT.items():
            if found := re.search(pattern, line, re.IGNORECASE):
                yield f"line {number}: {found[0]!r}; better: {better}"


def names(code: str, patterns: Mapping[str, str] = IN_NAMES) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        for pattern, better in patterns.items():
            if token.type == tokenize.NAME and re.fullmatch(pattern, token.string):
                yield f"line {token.start[0]}: {token.string}; better: {better}"


def test_the_rule_sees_what_it_forbids() -> None:
    assert [
        each.partition(";")[0] for each in words("Whoever asks\nwas told so\nit is no longer so\nit is no use")
    ] == [
        "line 1: 'Whoever'",
        "line 2: 'told'",
        "line 4: 'is no '",
    ]
    assert [each.partition(";")[0] for each in names("told = 1\ntold_so = 'told'\nclass Desk: ...\n")] == [
        "line 1: told",
        "line 3: Desk",
    ]


@pytest.mark.parametrize("name", TEXTS)
def test_english_is_plain_wherever_a_person_reads(name: str) -> None:
    text, _, _ = (ROOT / name).read_text().partition(OLD_NAMES)
    assert list(words(text)) == []


@pytest.mark.parametrize("name", CODE)
def test_names_are_those_of_the_field(name: str) -> None:
    of_writer = IN_NAMES_OF_THE_WRITER if name.startswith("writer/") else {}
    assert list(names((ROOT / name).read_text(), IN_NAMES | of_writer)) == []


@pytest.mark.parametrize("package", ["planner", "writer", "ops"])
def test_a_class_name_has_one_meaning_in_a_package_and_what_it_imports(package: str) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for name in listed("schemas/*.py", "runtime/*.py", f"{package}/*.py"):
        for node in ast.parse((ROOT / name).read_text()).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    assert {each: found for each, found in places.items() if len(found) > 1 and each not in TWO_MEANINGS} == {}
