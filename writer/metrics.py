"""The writer's figures, in a registry of their own. The first one to alert on is
`writeback_oldest_unsettled_plan_age_seconds`.
"""

from __future__ import annotations

import math
from collections import Counter as Tally
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from runtime.broker_errors import FENCED, GROUP_MOVED_ON, codes_of, names_of
from runtime.broker_errors import Kind as BrokerError
from schemas.records import BlockReason, ResultStatus
from writer.core.refusals import UNVERIFIABLE
from writer.core.replies import Kind
from writer.core.sign_in import BY_CODE, SignInTrouble

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Label values are closed lists of ours or codes of the service and the broker, never anything of a record (B1).
    From the start, a counter exists with 0 for each of its labels and each code that we know, or the first count would
    be invisible to `increase()`.
    """

    def __init__(self, *, version: str = "unknown", mode: str = "unknown") -> None:
        self.registry = registry = CollectorRegistry()
        gauge, counter = partial(Gauge, registry=registry), partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        ProcessCollector(registry=registry)
        self.build_info = gauge(
            "writeback_build_info",
            "Always 1: which version runs, and whether it writes or is a dry run.",
            ["service", "version", "mode"],
        )
        self.build_info.labels("writer", version, mode).set(1)
        self.signed_in = gauge(
            "writeback_signed_in",
            "1 while Dataverse accepts this identity, 0 from the start until it does, and from a refusal on.",
            ["identity"],
        )
        self.sign_in_failures = counter(
            "writeback_sign_in_failures_total",
            "Failed sign-ins by cause and by the token service's own code; docs/operators.md says what to do.",
            ["identity", "cause", "code"],
        )
        self.credential_expiry = gauge(
            "writeback_credential_expiry_timestamp_seconds",
            "When the secret or certificate of this identity expires, Unix time; only where that is known.",
            ["identity"],
        )
        self.mapping_gaps = gauge(
            "writeback_mapping_gaps",
            "What the mapping file names and Dataverse does not have, at the last look; NaN until the first.",
        )
        self.mapping_gaps.set(math.nan)
        self.topic_misfits = gauge(
            "writeback_topic_misfits",
            "Settings, partition counts and rights of topics that do not fit, at the last look; /ready and the log "
            "line topics.unfit name each.",
        )
        self.held_plans = gauge(
            "writeback_held_plans",
            "Plans that Dataverse refuses and that are not blocked, since no plan that needs the same lands: the "
            "installation is at fault, and a person must act.",
            ["reason"],
        )
        self.tell_held(Tally())
        self.oldest_unsettled_age = gauge(
            "writeback_oldest_unsettled_plan_age_seconds",
            "How old the oldest unsettled plan may be: since its first copy was appended, however often it was "
            "requeued; since the broker was last heard of, if that is longer and half a minute or more. 0 if there is "
            "none.",
        )
        self.oldest_opt_out_age = gauge(
            "writeback_oldest_unsettled_opt_out_age_seconds",
            "How old the oldest unsettled plan is in which a contact asks not to be called, of the plans that this "
            "process has taken; since its first copy was appended. 0 if there is none.",
        )
        self.caught_up = gauge(
            "writeback_caught_up_timestamp_seconds",
            "Every plan appended to the partitions of this process before this moment is settled, Unix time; 0 while "
            "that is not known, NaN without partitions. A requeued plan counts from its new position. The least "
            "of all writers counts.",
        )
        self.caught_up.set(math.nan)
        self.outcomes = counter("writeback_outcomes_total", "Plans by what became of them.", ["status", "reason"])
        for status in ResultStatus:
            self.outcomes.labels(status, "")
        for reason in BlockReason:
            self.outcomes.labels(ResultStatus.BLOCKED, reason)
        self.blocked_opt_outs = counter(
            "writeback_blocked_opt_outs_total",
            "Blocked plans in which a contact asks not to be called, where do-not-call was not set. Alert on any "
            "increase: a person must make sure that nobody calls the contact again.",
        )
        self.requests = counter(
            "writeback_requests_total",
            "Requests to Dataverse by operation and by the class of their reply.",
            ["operation", "class"],
        )
        for operation in OPERATIONS:
            for kind in Kind:
                self.requests.labels(operation, kind)
        self.request_seconds = histogram(
            "writeback_request_seconds", "How long Dataverse took to answer.", ["operation"], buckets=_SECONDS
        )
        self.plans_per_request = histogram(
            "writeback_plans_per_request",
            "Plans that shared one request.",
            buckets=(1, 2, 4, 6, 8, 10, 15, 20, 50, 140),
        )
        self.in_flight = gauge("writeback_in_flight_plans", "Plans taken and not settled.")
        self.frontier_gap = gauge(
            "writeback_frontier_gap",
            "Plans settled beyond the oldest unsettled one: what waits for it to be committed.",
        )
        self.throttle_wait = counter(
            "writeback_throttle_wait_seconds_total", "Time that Dataverse asked an identity to wait.", ["identity"]
        )
        self.requeues = counter(
            "writeback_requeues_total", "Plans that were requeued: copied to the end of the planned topic."
        )
        self.settled_before = counter(
            "writeback_settled_before_total",
            "Plans that were read again after they had settled: nothing was sent for them.",
        )
        self.retried_after_result = counter(
            "writeback_retried_after_result_total",
            "Plans with a final result that were replayed and ran out of their retry budget. Their result stays as it "
            "is; they are tried again.",
        )
        self.requeue_count = histogram(
            "writeback_requeue_count",
            "How often a plan had been requeued each time it was: one that fails alone, again and again, shows in the "
            "buckets above 4.",
            buckets=(1, 2, 4, 8, 16, 64),
        )
        self.token_expiry = gauge(
            "writeback_token_expiry_timestamp_seconds",
            "When the token in use expires, Unix time; 0 if none is needed.",
            ["identity"],
        )
        self.first_blocked = gauge(
            "writeback_first_blocked_since_start_timestamp_seconds",
            "When this process first blocked a plan since it started, Unix time; 0 if it blocked none. What was "
            "blocked before is on the results topic.",
        )
        self.rejected = counter("writeback_rejected_records_total", "Records on the planned topic that are no plans.")
        self.unreadable_partitions = gauge(
            "writeback_unreadable_partitions",
            "Partitions that stand still since nobody can say what their next plan holds: its schema is not known to "
            "this version or to the schema registry, or the registry does not answer in its own words.",
        )
        self.commit_failures = counter(
            "writeback_commit_failures_total", "Commits and transactions that the broker did not take.", ["code"]
        )
        for code in names_of(GROUP_MOVED_ON | FENCED | codes_of(BrokerError.TRANSIENT, BrokerError.TOO_LARGE)):
            self.commit_failures.labels(code)
        self.broker_heard = gauge(
            "writeback_broker_heard_timestamp_seconds",
            "When the broker was last asked something that it has answered, Unix time; it is asked every second. What "
            "the other gauges say of plans on the topic holds for this moment. 0 before the first answer.",
        )
        self.missed = counter(
            "writeback_missed_offsets_total",
            "Offsets of the planned topic that were taken away before anybody read them (retention, a deletion): their "
            "plans were never made true. The log names the partition and the range.",
        )
        self.rebalances = counter(
            "writeback_rebalances_total",
            "How often partitions were assigned to this process, released by it, or lost to it: two or three a "
            "restart, not some every minute.",
            ["what"],
        )
        for what in ("assigned", "released", "lost"):
            self.rebalances.labels(what)
        self.broker_waits = counter(
            "writeback_broker_waits_total",
            "Calls to the broker that had to be made again, because it was away or slow: one a second and more while "
            "it is.",
            ["code"],
        )
        for code in names_of(codes_of(BrokerError.TRANSIENT)):
            self.broker_waits.labels(code)
        self.waiting = gauge("writeback_outage", "1 while most plans fail and everything waits for Dataverse.")
        self.partitions = gauge("writeback_assigned_partitions", "Partitions that are ours now.")

    def tell_held(self, plans: Tally[str]) -> None:
        """How many plans are held, by reason."""
        for reason in (*BlockReason, UNVERIFIABLE):
            self.held_plans.labels(reason).set(plans[reason])

    def expect(self, identity: str) -> None:
        """An identity of this writer: its counters begin with 0."""
        self.signed_in.labels(identity).set(0)
        self.throttle_wait.labels(identity)
        for cause in SignInTrouble:
            self.sign_in_failures.labels(identity, cause, "")
        for number, cause in BY_CODE.items():
            self.sign_in_failures.labels(identity, cause, f"AADSTS{number}")


OPERATIONS = ("write", "read", "metadata", "owners", "who_am_i")
"""What the writer asks Dataverse for."""
