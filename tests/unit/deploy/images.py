"""The Dockerfile as data: its stages, their instructions, and what each is built from."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Instruction:
    word: str
    rest: str

    def exec_form(self) -> list[str]:
        """The arguments of `["a", "b"]`. Raises ValueError on the shell form."""
        parsed = json.loads(self.rest)
        return [str(part) for part in parsed]


@dataclass
class Stage:
    base: str
    name: str
    own: list[Instruction] = field(default_factory=list)
    parent: Stage | None = None

    def steps(self) -> list[Instruction]:
        """Every instruction in its order, inherited ones first."""
        return [*(self.parent.steps() if self.parent else ()), *self.own]

    def all(self, word: str) -> list[Instruction]:
        """The instructions of this kind, inherited ones first."""
        return [each for each in self.steps() if each.word == word]

    def environment(self) -> dict[str, str]:
        """What its ENV instructions set."""
        return dict(pair.split("=", 1) for each in self.all("ENV") for pair in shlex.split(each.rest))


def stages(text: str) -> dict[str, Stage]:
    """Stages by name. A stage whose base is an earlier stage has that as its parent."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    logical = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    found: dict[str, Stage] = {}
    current: Stage | None = None
    for line in filter(None, (each.strip() for each in logical)):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            current = found[name] = Stage(base, name, parent=found.get(base))
        elif current:
            current.own.append(Instruction(word, rest.strip()))
    return found


def allowed_into_the_build(text: str) -> list[str]:
    """The patterns that a .dockerignore which starts by excluding everything lets through."""
    rules = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*", "the build context is an allowlist"
    return [rule[1:] for rule in rules if rule.startswith("!")]
