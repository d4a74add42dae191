"""What Prometheus is told. Labels are reasons and outcomes, never ids."""

from __future__ import annotations

from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from planner.core.rejection_reasons import REASONS

Cause = Literal["registry", "schema", "broker", "publish"]
"""What the planner may wait for."""


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.outcomes = Counter("planner_outcomes", "Outcomes by what became of them.", ["outcome"], registry=registry)
        self.rejections = Counter(
            "planner_rejections",
            "Reasons of rejected outcomes; one outcome may have several.",
            ["reason"],
            registry=registry,
        )
        self.rejected_opt_outs = Counter(
            "planner_rejected_opt_outs",
            "Rejected outcomes in which the contact asked not to be called. Alert on any increase: a person must see "
            "to it that the contact is not called again.",
            registry=registry,
        )
        self.misplaced = Counter(
            "planner_misplaced",
            "Outcomes in another partition than their key belongs to that were planned since PLANNER_MISPLACED=warn.",
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "planner_batch_seconds", "From taking a batch to the broker's acknowledgement.", registry=registry
        )
        self.batch_size = Histogram(
            "planner_batch_size",
            "Outcomes per batch.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
            registry=registry,
        )
        self.oldest_outcome_age = Gauge(
            "planner_oldest_outcome_age_seconds",
            "Age of the oldest outcome that is not planned, as far as was heard of the broker: it grows while nothing "
            "is planned and while nothing is heard. NaN without partitions.",
            registry=registry,
        )
        self.caught_up = Gauge(
            "planner_caught_up_timestamp_seconds",
            "Every outcome appended to the partitions of this process before this moment is planned or rejected, Unix "
            "time. The least of all planners counts.",
            registry=registry,
        )
        self.waiting_outcomes = Gauge(
            "planner_waiting_outcomes",
            "Offsets between what is planned and the end of the topic, as last heard.",
            registry=registry,
        )
        self.heard = Gauge(
            "planner_broker_heard_timestamp_seconds",
            "When the broker last said where outcomes stand, Unix time.",
            registry=registry,
        )
        self.lost_outcomes = Counter(
            "planner_lost_outcomes",
            "Offsets of outcomes that the topic's retention took before they were planned.",
            registry=registry,
        )
        self.assigned = Gauge("planner_assigned_partitions", "Partitions that are ours now.", registry=registry)
        self.rebalances = Counter(
            "planner_rebalances", "Times that this planner was given partitions anew.", registry=registry
        )
        self.abandoned = Counter(
            "planner_abandoned_batches",
            "Batches that were given up since their partitions had changed hands; they are planned elsewhere.",
            registry=registry,
        )
        self.pins = Gauge("planner_pins", "Sessions that are known to be planned.", registry=registry)
        self.recovery_remaining = Gauge(
            "planner_recovery_remaining", "Planned records that recovery still has to read.", registry=registry
        )
        self.unreadable_plans = Counter(
            "planner_unreadable_plans",
            "Records on the planned topic that are no plans; the writer rejects them.",
            registry=registry,
        )
        self.waiting = Gauge(
            "planner_waiting",
            "1 while the planner plans nothing because of this: registry (it does not answer in its own words), schema "
            "(of a plan that this version cannot read), broker (not heard of), publish (it acknowledges no plans).",
            ["cause"],
            registry=registry,
        )
        self.topic_misfits = Gauge(
            "planner_topic_misfits",
            "Settings, partition counts and rights of topics that do not fit, at the last look; /ready and the log "
            "line topics.unfit name each.",
            registry=registry,
        )
        self.build = Info("planner_build", "Version and mapping of this process.", registry=registry)
        ProcessCollector(registry=registry)
        for outcome in ("planned", "duplicate", "rejected"):
            self.outcomes.labels(outcome)
        for cause in get_args(Cause):
            self.waiting.labels(cause).set(0)
        for reason in REASONS:
            self.rejections.labels(reason)
