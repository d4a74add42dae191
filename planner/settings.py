"""The planner's settings: read once from `PLANNER_…`, checked whole, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import phonenumbers
from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from planner.core.dispositions import EFFECTS
from planner.core.planning import Policy
from runtime import environment
from runtime.service_settings import ServiceSettings, port_of_endpoint
from schemas.records import Disposition

PREFIX = "PLANNER_"


class PlannerSettings(ServiceSettings):
    """The settings of `python -m planner`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX)

    endpoint_port: int = port_of_endpoint(9101)
    mapping_file: Path = Field(description="The reviewed mapping of this tenant.")
    redaction: Literal["redact", "none"] = Field(
        "redact", description="`redact` removes personal data from free text; `none` lets it through to the CRM."
    )
    redaction_regions: tuple[str, ...] = Field(
        ("US",),
        min_length=1,
        description='JSON list of the countries whose phone formats the redactor recognises, e.g. ["US", "DE"].',
    )
    transcript: Literal["summary-only", "full"] = Field(
        "summary-only", description="`full` puts the redacted transcript into the phone call's description."
    )
    next_attempt_after_s: dict[Disposition, int] = Field(
        default_factory=dict,
        description='JSON object of retryable dispositions to seconds until the next attempt: {"no_answer": 14400}. '
        "The planner leaves the column alone for a disposition that is not listed.",
    )
    group: str = Field("writeback-planner", min_length=1, description="Consumer group.")
    session_timeout_s: float = Field(
        6.0,
        ge=1,
        description="How long a silent planner keeps its partitions before the group reassigns them; nothing is "
        "planned there meanwhile.",
    )
    heartbeat_interval_s: float = Field(
        1.5,
        gt=0,
        description="How often a planner sends a heartbeat to its group: at most a third of the session timeout.",
    )
    batch_size: int = Field(
        500, ge=1, le=10_000, description="Largest number of outcomes that are planned and published together."
    )
    batch_wait_s: float = Field(
        0.02, gt=0, le=5, description="Longest wait for a batch to fill. It adds to the latency."
    )
    delivery_timeout_s: float = Field(
        30.0,
        ge=1,
        description="How long the broker may take to acknowledge a plan. After that the planner publishes the batch "
        "again, with a new client. Other planners wait as long for a transaction that a killed planner left open.",
    )
    max_message_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1_000_000,
        description="Largest record to publish. Rejected records keep all of their original bytes.",
    )
    pin_store: str = Field(
        "memory://",
        pattern=r"^(memory://|rocksdb://.+)$",
        description="Where pins are kept: memory://, or rocksdb:///a/folder. On disk, a restart reads only new plans.",
    )
    look_every_s: float = Field(
        5.0,
        gt=0,
        le=60,
        description="How often the planner asks the broker for its position on the topic, for metrics and alerts.",
    )
    follow_every_s: float = Field(
        600.0,
        gt=0,
        description="How often the planner reads what others appended to the planned topic, above all tombstones. "
        "A shorter time frees memory sooner and costs processor time.",
    )
    misplaced: Literal["reject", "warn"] = Field(
        "reject",
        description="What happens to an outcome in another partition than Kafka's murmur2 of its key gives. `warn` "
        "plans it. Use it only if a single producer publishes and always places the same way; otherwise order and "
        "opt-outs get lost.",
    )

    @field_validator("redaction_regions")
    @classmethod
    def _known_regions(cls, regions: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(regions) - phonenumbers.SUPPORTED_REGIONS):
            raise ValueError(f"these are not ISO 3166 country codes with phone numbers: {', '.join(unknown)}")
        return regions

    @field_validator("next_attempt_after_s")
    @classmethod
    def _only_retryable(cls, delays: dict[Disposition, int]) -> dict[Disposition, int]:
        if wrong := sorted(name for name in delays if not EFFECTS[name].retryable):
            raise ValueError(
                f"these dispositions are never called again, so they have no next attempt: {', '.join(wrong)}"
            )
        if any(not 0 < delay <= 366 * 86_400 for delay in delays.values()):
            raise ValueError("each delay must be between a second and a year")
        return delays

    @field_validator("heartbeat_interval_s")
    @classmethod
    def _several_heartbeats_per_session(cls, interval: float, info: Any) -> float:
        if interval * 3 > info.data.get("session_timeout_s", interval * 3):
            raise ValueError("must be at most a third of session_timeout_s")
        return interval

    @property
    def group_id(self) -> str:
        return self.broker.topic_prefix + self.group

    def policy(self, *, version: str) -> Policy:
        return Policy(
            redaction=self.redaction,
            regions=self.redaction_regions,
            transcript=self.transcript,
            delays={name: timedelta(seconds=delay) for name, delay in self.next_attempt_after_s.items()},
            planned_by=version,
        )


def read_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> PlannerSettings:
    """The settings from the environment, `overrides` on top. Raises Misconfigured with every mistake, never a value."""
    return environment.read(PlannerSettings, help_command="python -m planner --help", environ=environ, **overrides)


def describe() -> list[environment.Variable]:
    """Every setting, for --help."""
    return environment.describe(PlannerSettings)
