"""When a fault happens: rules that match requests and fire a set number of times.

F1 The same rules, seed and requests give the same faults: each rule throws its own dice, seeded by the run's seed and
its id, once for each request that it matches.
"""

import random
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulator.faults.actions import Action

Scope = Literal["request", "operation"]
_OF_OPERATIONS = frozenset({"status", "error", "edit"})


class When(BaseModel):
    """All that is given must match. Regular expressions are searched; `body` in the request's text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scope: Scope = Field(
        default="request", description="whole HTTP requests, or single operations, also inside batches"
    )
    method: str | None = None
    path: str | None = Field(default=None, description="regular expression on path and query, behind the service root")
    body: str | None = Field(default=None, description="regular expression on the body")
    user: str | None = None


class Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = ""
    when: When = When()
    skip: int = Field(default=0, ge=0, description="how many matching requests pass before the first fault")
    times: int | None = Field(1, ge=1, description="how often it fires; null: always")
    probability: float = Field(default=1.0, ge=0, le=1)
    do: list[Action] = Field(min_length=1)

    @model_validator(mode="after")
    def _single_operations_can_only_be_answered_or_raced(self) -> Self:
        wrong = sorted({action.kind for action in self.do} - _OF_OPERATIONS)
        if self.when.scope == "operation" and wrong:
            raise ValueError(f"scope operation takes {', '.join(sorted(_OF_OPERATIONS))}, not {', '.join(wrong)}")
        return self


@dataclass(slots=True)
class Seen:
    """What a rule looks at."""

    method: str
    path: str
    body: bytes
    user: str


@dataclass(slots=True)
class Fired:
    """A rule that fired, with the groups of its expressions."""

    rule: Rule
    groups: dict[str, str]
    dice: random.Random


@dataclass
class _Armed:
    rule: Rule
    path: re.Pattern[str] | None
    body: re.Pattern[bytes] | None
    dice: random.Random
    matched: int = 0
    fired: int = 0

    @property
    def spent(self) -> bool:
        return self.rule.times is not None and self.fired >= self.rule.times

    def match(self, seen: Seen) -> dict[str, str] | None:
        when = self.rule.when
        if (when.method and when.method.upper() != seen.method) or (when.user and when.user != seen.user):
            return None
        groups: dict[str, str] = {}
        if self.path is not None:
            found = self.path.search(seen.path)
            if found is None:
                return None
            groups |= {name: text for name, text in found.groupdict().items() if text is not None}
        if self.body is not None:
            hit = self.body.search(seen.body)
            if hit is None:
                return None
            groups |= {name: part.decode() for name, part in hit.groupdict().items() if part is not None}
        return groups


@dataclass
class Rules:
    """All armed rules, and a record of what fired."""

    seed: int = 0
    history: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=10_000))
    _armed: dict[str, _Armed] = field(default_factory=dict)
    _number: int = 0

    def add(self, rule: Rule) -> str:
        """Arm a rule and return its id. Raises ValueError for an expression that is none."""
        self._number += 1
        identity = rule.id or f"fault-{self._number}"
        try:
            path = re.compile(rule.when.path) if rule.when.path else None
            body = re.compile(rule.when.body.encode()) if rule.when.body else None
        except re.error as error:
            raise ValueError(f"{identity}: {error}") from error
        dice = random.Random(f"{self.seed}/{identity}")  # noqa: S311 - faults have to be reproducible
        self._armed[identity] = _Armed(rule.model_copy(update={"id": identity}), path, body, dice)
        return identity

    def remove(self, identity: str) -> bool:
        return self._armed.pop(identity, None) is not None

    def clear(self) -> None:
        self._armed.clear()

    def has(self, scope: Scope) -> bool:
        return bool(self._armed) and any(
            armed.rule.when.scope == scope and not armed.spent for armed in self._armed.values()
        )

    def fire(self, scope: Scope, seen: Seen, number: int) -> list[Fired]:
        """The rules that fire for this request, in the order in which they were armed."""
        fired = []
        for identity, armed in self._armed.items():
            if armed.rule.when.scope != scope or armed.spent:
                continue
            groups = armed.match(seen)
            if groups is None:
                continue
            armed.matched += 1
            lucky = armed.dice.random() >= armed.rule.probability
            if armed.matched <= armed.rule.skip or lucky:
                continue
            armed.fired += 1
            self.history.append(
                {"rule": identity, "request": number, "kinds": [action.kind for action in armed.rule.do]}
            )
            fired.append(Fired(armed.rule, groups, armed.dice))
        return fired

    def describe(self) -> list[dict[str, object]]:
        return [
            {
                **armed.rule.model_dump(mode="json", exclude_defaults=True),
                "id": identity,
                "matched": armed.matched,
                "fired": armed.fired,
            }
            for identity, armed in self._armed.items()
        ]
