"""Everything that may go wrong, by name: what the simulation raises, and what tests of real processes may use.

The names are the ids of tests and of the record: they change only together with the record.
"""

from __future__ import annotations

from enum import StrEnum


class CrashPoint(StrEnum):
    """Where a process may die. A shell calls `reached(point)` there: the simulation's shells do, and real ones can."""

    POLLED = "writer-polled"
    DECODED = "writer-decoded"
    BEFORE_SEND = "writer-before-send"
    SENT = "writer-sent"
    REPLIED = "writer-reply-not-marked"
    MARKED = "writer-marked"
    PUBLISHED = "writer-published-not-acknowledged"
    COMMITTING = "writer-commit-under-way"
    COMMITTED = "writer-committed"
    IN_REVOKE = "writer-in-on-revoke"
    IN_LOST = "writer-in-on-lost"
    IN_DRAIN = "writer-in-sigterm-drain"
    IN_RETRY_AFTER = "writer-waiting-for-retry-after"
    IN_TOKEN = "writer-refreshing-token"
    IN_PIECES = "writer-between-pieces"
    PLANNER_POLLED = "planner-polled"
    DECIDED = "planner-decided-not-published"
    PUBLISHING = "planner-publish-under-way"
    ACKNOWLEDGED = "planner-acknowledged-not-pinned"
    BEFORE_COMMIT = "planner-before-commit"
    RECOVERING = "planner-recovering-pins"
    FOLLOWING = "planner-following-topic"
    IN_REBALANCE = "planner-in-rebalance"

    @property
    def of_writer(self) -> bool:
        return self.value.startswith("writer")


class CrmFault(StrEnum):
    """What the CRM, or something before it, does to one request."""

    THROTTLED = "429-retry-after"
    THROTTLED_ODDLY = "429-odd-retry-after"
    PROTECTION_REQUESTS = "protection-requests"
    PROTECTION_TIME = "protection-execution-time"
    PROTECTION_CONCURRENCY = "protection-concurrency"
    STATUS_5XX = "500-502-503-504"
    TIMEOUT_BEFORE = "timeout-before-effect"
    TIMEOUT_AFTER = "timeout-after-effect-or-reset-in-body"
    STALE_READ = "stale-read"
    CHANGED = "412"
    GONE = "404"
    BAD_REQUEST = "400"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    NO_TOKEN = "token-endpoint"
    DUPLICATE_KEY = "duplicate-key"
    HTML = "200-html-or-302"
    SILENCE = "120s-silence"
    TWICE = "carried-out-twice"
    MAINTENANCE = "ten-minutes-of-maintenance"


class NetworkFault(StrEnum):
    """Between a service and the broker or the CRM. A number is the broker's error code."""

    RESET = "reset"
    BLACK_HOLE = "black-hole"
    REPLIES_ONLY = "replies-only"
    LATENCY = "latency"
    SLOW_DRIP = "slow-drip"
    HALF_OPEN = "half-open"
    DNS = "dns"
    TLS = "tls-expired-and-rotated"
    BROKER_DOWN = "broker-down-and-up"
    COORDINATOR = "coordinator-moves"
    CODE_1 = "1-OFFSET_OUT_OF_RANGE"
    CODE_6 = "6-NOT_LEADER_FOR_PARTITION"
    CODE_7 = "7-REQUEST_TIMED_OUT"
    CODE_10 = "10-MSG_SIZE_TOO_LARGE"
    CODE_12 = "12-OFFSET_METADATA_TOO_LARGE"
    CODE_14 = "14-COORDINATOR_LOAD_IN_PROGRESS"
    CODE_15 = "15-COORDINATOR_NOT_AVAILABLE"
    CODE_16 = "16-NOT_COORDINATOR"
    CODE_19 = "19-NOT_ENOUGH_REPLICAS"
    CODE_22 = "22-ILLEGAL_GENERATION"
    CODE_25 = "25-UNKNOWN_MEMBER_ID"
    CODE_27 = "27-REBALANCE_IN_PROGRESS"
    CODE_29 = "29-TOPIC_AUTHORIZATION_FAILED"
    CODE_58 = "58-SASL_AUTHENTICATION_FAILED"
    CODE_82 = "82-FENCED_INSTANCE_ID"
    THROTTLED = "throttled-by-broker"


class Membership(StrEnum):
    """What happens to the consumer group."""

    JOIN = "join"
    LEAVE = "clean-leave"
    KILL = "kill"
    ZOMBIE = "paused-past-session-timeout"
    SLOW_POLL = "paused-past-max-poll-interval"
    TWICE = "same-instance-twice"
    RAISED = "partitions-raised"
    ROLLING_UP = "rolling-2-to-3"
    ROLLING_DOWN = "rolling-3-to-2"
    PROTOCOL = "other-protocol"
    ALL_AT_ONCE = "all-at-once"
    STORM = "storm"
    TO_NOTHING = "to-nothing-and-back"


class InputFault(StrEnum):
    """What a sender may publish."""

    NOT_AVRO = "not-avro"
    UNKNOWN_SCHEMA = "unknown-schema"
    NULL_KEY = "null-key"
    TOMBSTONE = "tombstone"
    TOO_LARGE = "over-the-maximum"
    BAD_UTF8 = "bad-utf-8"
    DUPLICATE = "duplicate"
    REORDERED = "reordered"
    YEAR_OFF = "a-year-off"
    UNKNOWN_IDS = "unknown-ids"
    INJECTION = "injection"
    NESTED = "deep-nesting"
    NUMBERS = "nan-and-huge-numbers"
    CHARACTERS = "nul-rtl-emoji-look-alikes"
    BOMB = "compression-bomb"
    TRACEPARENT = "10-kb-traceparent"
    TRANSACTIONS = "transactions-open-and-aborted"
    PLACEMENT = "other-placement"
