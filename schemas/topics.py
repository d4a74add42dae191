"""The topics: their names, keys, policies, and what makes a broker's topics unfit. Pure.

The key of a plan is its session, its placement is its queue item's: so compaction can only replace a plan by the same
plan, and everything of one queue item stays in one partition, in order. Partition counts therefore never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

DAY_MS = 86_400_000

Policy = Literal["delete", "compact"]


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic must be. Times in milliseconds; a minimum of None asks for nothing."""

    name: str
    policy: Policy
    min_retention_ms: int | None = None
    min_delete_retention_ms: int | None = None

    def creation_config(self) -> dict[str, str]:
        """The broker settings that a topic is created with."""
        config: dict[str, str] = {"cleanup.policy": self.policy}
        if self.min_retention_ms is not None:
            config["retention.ms"] = str(self.min_retention_ms)
        if self.min_delete_retention_ms is not None:
            config["delete.retention.ms"] = str(self.min_delete_retention_ms)
        return config


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    call_outcomes: TopicSpec = TopicSpec("call-outcomes", "delete", min_retention_ms=7 * DAY_MS)
    planned_writebacks: TopicSpec = TopicSpec("planned-writebacks", "compact", min_delete_retention_ms=7 * DAY_MS)
    writeback_results: TopicSpec = TopicSpec("writeback-results", "compact", min_delete_retention_ms=7 * DAY_MS)
    call_outcomes_rejected: TopicSpec = TopicSpec("call-outcomes-rejected", "delete", min_retention_ms=30 * DAY_MS)
    planned_writebacks_rejected: TopicSpec = TopicSpec(
        "planned-writebacks-rejected", "delete", min_retention_ms=30 * DAY_MS
    )
    writeback_rehearsals: TopicSpec = TopicSpec("writeback-rehearsals", "delete", min_retention_ms=DAY_MS)

    def all(self) -> tuple[TopicSpec, ...]:
        return tuple(getattr(self, f.name) for f in fields(self))

    def prefixed(self, prefix: str) -> Topics:
        """The same topics for one of several installations on a shared cluster."""
        return Topics(
            **{f.name: replace(spec, name=prefix + spec.name) for f, spec in zip(fields(self), self.all(), strict=True)}
        )


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """What a broker says of a topic; `config` is None if the broker cannot say (the embedded one)."""

    partitions: int
    config: Mapping[str, str] | None


def mismatches(required: tuple[TopicSpec, ...], found: Mapping[str, FoundTopic]) -> list[str]:
    """Every reason not to start, each with its mend; empty if fit. All must have equally many partitions."""
    problems = [
        f"topic {spec.name} does not exist; create it with: writeback topics create"
        for spec in required
        if spec.name not in found
    ]
    present = [spec for spec in required if spec.name in found]
    counts = {spec.name: found[spec.name].partitions for spec in present}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        problems.append(
            f"topics must have the same number of partitions, which never changes after the first record: {listed}"
        )
    for spec in present:
        if (config := found[spec.name].config) is not None:
            problems += _config_problems(spec, config)
    return problems


def _config_problems(spec: TopicSpec, config: Mapping[str, str]) -> list[str]:
    problems = []
    if (policy := config.get("cleanup.policy")) != spec.policy:
        problems.append(f"topic {spec.name} has cleanup.policy={policy}; it must be {spec.policy}")
    for key, minimum in (
        ("retention.ms", spec.min_retention_ms),
        ("delete.retention.ms", spec.min_delete_retention_ms),
    ):
        if minimum is not None and 0 <= (actual := int(config.get(key, -1))) < minimum:
            problems.append(
                f"topic {spec.name} has {key}={actual}; it must be at least {minimum} ({minimum // DAY_MS} days)"
            )
    return problems
