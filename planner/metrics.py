"""What Prometheus scrapes. Labels are reasons and outcomes, never ids."""

from __future__ import annotations

from functools import partial
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from planner.core.rejection_reasons import REASONS

Cause = Literal["registry", "schema", "broker", "offsets", "publish"]
"""What the planner may wait for."""


class Metrics:
    """All metrics of the process, registered once. Others set and count; nothing here reads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge, counter = partial(Gauge, registry=registry), partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.outcomes = counter(
            "planner_outcomes", "Records by result: planned, duplicate, rejected, or tombstone (skipped).", ["outcome"]
        )
        self.rejections = counter("planner_rejections", "Rejection reasons. One outcome may have several.", ["reason"])
        self.rejected_opt_outs = counter(
            "planner_rejected_opt_outs",
            "Rejected outcomes in which the contact asked not to be called. Alert on any increase: a person must make "
            "sure that nobody calls the contact again.",
        )
        self.misplaced = counter(
            "planner_misplaced",
            "Outcomes that were planned in the wrong partition for their key, because of PLANNER_MISPLACED=warn.",
        )
        self.batch_seconds = histogram(
            "planner_batch_seconds", "Seconds from taking a batch to the broker's acknowledgement."
        )
        self.batch_size = histogram(
            "planner_batch_size", "Outcomes per batch.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
        )
        self.oldest_outcome_age = gauge(
            "planner_oldest_outcome_age_seconds",
            "Age of the oldest outcome that is not planned, as the broker last said. It grows while nothing is planned "
            "and while the broker does not answer. NaN: no partitions.",
        )
        self.caught_up = gauge(
            "planner_caught_up_timestamp_seconds",
            "All outcomes appended to the partitions of this process before this Unix time are planned or rejected. "
            "NaN: no partitions. Alert on min() over planners.",
        )
        self.waiting_outcomes = gauge(
            "planner_waiting_outcomes",
            "Offsets between what is planned and the end of the topic, as the broker last said.",
        )
        self.broker_heard = gauge(
            "planner_broker_heard_timestamp_seconds",
            "Unix time at which the broker last answered where the outcomes topic ends; at first, that of the start.",
        )
        self.lost_outcomes = counter(
            "planner_lost_outcomes", "Offsets that the topic's retention deleted before they were planned."
        )
        self.assigned = gauge("planner_assigned_partitions", "Partitions that are assigned to this process.")
        self.rebalances = counter("planner_rebalances", "Rebalances that this process has seen.")
        self.abandoned = counter(
            "planner_abandoned_batches",
            "Batches that were given up because their partitions were reassigned. Another planner plans them.",
        )
        self.pins = gauge("planner_pins", "Sessions that the planner knows to be planned.")
        self.recovery_remaining = gauge(
            "planner_recovery_remaining", "Planned records that recovery still has to read."
        )
        self.unreadable_plans = counter(
            "planner_unreadable_plans", "Records on the planned topic that are not plans. The writer rejects them."
        )
        self.waiting = gauge(
            "planner_waiting",
            "1 while this cause stops planning. registry: the schema registry does not answer. schema: this version "
            "cannot read a plan. broker: the broker does not answer. publish: the broker acknowledges no plans.",
            ["cause"],
        )
        self.topic_misfits = gauge(
            "planner_topic_misfits",
            "Settings, partition counts and rights of topics that do not fit, at the last look; /ready and the log "
            "line topics.unfit name each.",
        )
        self.build = Info("planner_build", "Version and mapping of this process.", registry=registry)
        ProcessCollector(registry=registry)
        for outcome in ("planned", "duplicate", "rejected", "tombstone"):
            self.outcomes.labels(outcome)
        for cause in get_args(Cause):
            self.waiting.labels(cause).set(0)
        for reason in REASONS:
            self.rejections.labels(reason)
