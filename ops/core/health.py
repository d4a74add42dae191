"""What `doctor` found, and the verdict. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ops.core.counting import number_of


class Part(StrEnum):
    SETTINGS = "settings"
    BROKER = "broker"
    TOPICS = "topics"
    SERVICES = "services"
    REGISTRY = "registry"
    MAPPING = "mapping"
    SIGN_IN = "sign-in"
    CLOCK = "clock"
    PRIVILEGES = "privileges"
    METADATA = "metadata"


class CheckResult(StrEnum):
    OK = "ok"
    WRONG = "wrong"
    """It would stop a service or block a plan."""
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    part: Part
    verdict: CheckResult
    text: str


def ok(part: Part, text: str) -> Finding:
    return Finding(part, CheckResult.OK, text)


def wrong(part: Part, texts: Iterable[str]) -> list[Finding]:
    return [Finding(part, CheckResult.WRONG, text) for text in texts]


def not_checked(part: Part, text: str) -> Finding:
    return Finding(part, CheckResult.NOT_CHECKED, text)


def is_well(findings: Sequence[Finding]) -> bool:
    return all(each.verdict is not CheckResult.WRONG for each in findings)


def summary(findings: Sequence[Finding]) -> str:
    bad = sum(each.verdict is CheckResult.WRONG for each in findings)
    missing = sorted({each.part.value for each in findings if each.verdict is CheckResult.NOT_CHECKED})
    rest = f"; not checked: {', '.join(missing)}" if missing else ""
    if bad:
        return f"{number_of(bad, 'thing')} would stop a service, block a plan, or let it wait{rest}"
    return f"everything that was checked is right{rest}"


def service_finding(service: str, *, runs: bool | None, waits: bool) -> Finding:
    """`waits`: it has something before it."""
    if runs is None:
        return not_checked(Part.SERVICES, f"{service}: this broker does not say whether one runs")
    if runs:
        return ok(Part.SERVICES, f"a {service} is running")
    if waits:
        return Finding(Part.SERVICES, CheckResult.WRONG, f"no {service} is running, and records wait for one: start it")
    return ok(Part.SERVICES, f"no {service} is running; nothing waits for one")


LARGEST_SKEW_S = 60.0
"""Tokens and outcomes are judged by time: the planner rejects what is five minutes in the future."""


def clock_finding(skew_s: float) -> Finding:
    """`skew_s`: this machine's clock less Dataverse's, as far as a request's duration lets it be known."""
    if abs(skew_s) <= LARGEST_SKEW_S:
        return ok(Part.CLOCK, f"this machine's clock and Dataverse's are less than {LARGEST_SKEW_S:.0f} s apart")
    where = "ahead of" if skew_s > 0 else "behind"
    text = f"this machine's clock is {abs(skew_s):.0f} s {where} Dataverse's: synchronise it, or sign-ins are refused"
    return Finding(Part.CLOCK, CheckResult.WRONG, text)
