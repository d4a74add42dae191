"""The hand-made corpus and what a redactor scores on it."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

CORPUS = Path(__file__).parents[3] / "golden" / "redaction" / "corpus.yaml"
MARKER = "[REDACTED]"
_SECRET = re.compile("⟦(.*?)⟧", re.DOTALL)

Span = tuple[int, int]


@dataclass(frozen=True)
class Case:
    category: str
    name: str
    text: str
    expected: str
    secrets: tuple[Span, ...]

    def __str__(self) -> str:
        return f"{self.category}: {self.name}"


@dataclass
class Score:
    secrets: int = 0
    gone: int = 0
    taken: int = 0
    rightly: int = 0

    @property
    def recall(self) -> float:
        return self.gone / self.secrets if self.secrets else 1.0

    @property
    def precision(self) -> float:
        return self.rightly / self.taken if self.taken else 1.0

    def __str__(self) -> str:
        return (
            f"recall {self.recall:7.2%} ({self.gone}/{self.secrets})  "
            f"precision {self.precision:7.2%} ({self.rightly}/{self.taken})"
        )


def load() -> list[Case]:
    corpus = yaml.safe_load(CORPUS.read_text("utf-8"))
    return [_case(category, name, marked) for category, cases in corpus.items() for name, marked in cases.items()]


def _case(category: str, name: str, marked: str) -> Case:
    secrets, text = [], ""
    for index, part in enumerate(_SECRET.split(marked)):
        if index % 2:
            secrets.append((len(text), len(text) + len(part)))
        text += part
    return Case(category, name, text, _SECRET.sub(MARKER, marked), tuple(secrets))


def taken_spans(text: str, redacted: str) -> list[Span]:
    """Where in the text each new marker of its redacted form stands."""
    if redacted == text:
        return []
    kept = redacted.split(MARKER)
    found = re.fullmatch("(.+?)".join(map(re.escape, kept)), text, re.DOTALL)
    assert found, f"{redacted!r} is not {text!r} with parts taken out"
    spans = [found.span(group) for group in range(1, len(kept))]
    return [(start, end) for start, end in spans if text[start:end] != MARKER]


def score(cases: Iterable[Case], redact: Callable[[str], str]) -> dict[str, Score]:
    """Score by category, and `all`.

    A secret is gone if nothing of it is left. A marker is right if it took no letter or digit but a secret's.
    """
    scores: dict[str, Score] = defaultdict(Score)
    for case in cases:
        taken = taken_spans(case.text, redact(case.text))
        for total in (scores[case.category], scores["all"]):
            total.secrets += len(case.secrets)
            total.gone += sum(_covered(secret, taken) for secret in case.secrets)
            total.taken += len(taken)
            total.rightly += sum(_deserved(span, case) for span in taken)
    return scores


def _covered(secret: Span, taken: list[Span]) -> bool:
    return any(start <= secret[0] and secret[1] <= end for start, end in taken)


def _deserved(span: Span, case: Case) -> bool:
    secret = {at for start, end in case.secrets for at in range(start, end)}
    touched = {at for at in range(*span) if case.text[at].isalnum()}
    return bool(touched) and touched <= secret
