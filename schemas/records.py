"""The records on the topics, as frozen values. The `.avsc` files decide; these classes follow them field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

Value = None | bool | int | float | str
"""What a CRM column can hold on the wire; times travel as ISO 8601 strings in UTC with a Z."""


class Disposition(StrEnum):
    INTERESTED_CALLBACK_REQUESTED = "interested_callback_requested"
    INTERESTED_EMAIL_CAPTURED = "interested_email_captured"
    NOT_INTERESTED = "not_interested"
    CALL_BACK_LATER = "call_back_later"
    WRONG_NUMBER = "wrong_number"
    NO_ANSWER = "no_answer"
    VOICEMAIL = "voicemail"
    DO_NOT_CALL = "do_not_call"
    NEEDS_HUMAN_REVIEW = "needs_human_review"
    FAILED = "failed"
    BLOCKED = "blocked"


class EligibilityRule(StrEnum):
    PHONE_PRESENT = "a"
    TIMEZONE_KNOWN = "b"
    WITHIN_CALLING_WINDOW = "c"
    NOT_DO_NOT_CALL = "d"
    ATTEMPTS_BELOW_MAXIMUM = "e"
    STATUS_READY = "f"


class HumanReviewReason(StrEnum):
    LEGAL_REQUEST = "legal_request"
    PHI_COLLECTION_RISK = "phi_collection_risk"
    NON_CLINICAL_TOPIC_ESCALATION = "non_clinical_topic_escalation"
    OUTSIDE_ALLOWED_CLAIMS = "outside_allowed_claims"
    AMBIGUOUS_DNC = "ambiguous_dnc"
    UNCERTAIN_ROLE = "uncertain_role"
    UNCERTAIN_INTENT = "uncertain_intent"
    CAPTURED_EMAIL_INVALID_NO_CALLBACK = "captured_email_invalid_no_callback"
    SCRIPT_TRUNCATED = "script_truncated"


class QueueStatus(StrEnum):
    READY = "ready"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    BLOCKED = "blocked"
    DNC = "dnc"


class Operation(StrEnum):
    CREATE_PHONE_CALL = "create_phone_call"
    COMPLETE_PHONE_CALL = "complete_phone_call"
    UPDATE_QUEUE_ITEM = "update_queue_item"
    CREATE_TASK = "create_task"


class Precondition(StrEnum):
    MUST_NOT_EXIST = "must_not_exist"
    MUST_MATCH_BASELINE = "must_match_baseline"
    MUST_EXIST = "must_exist"


class OwnerKind(StrEnum):
    USER = "user"
    TEAM = "team"


class PartyKind(StrEnum):
    CUSTOMER = "customer"
    USER = "user"
    QUEUE = "queue"


class ResultStatus(StrEnum):
    COMPLETED = "completed"
    BLOCKED = "blocked"
    RESUME_NEEDED = "resume_needed"
    DRY_RUN = "dry_run"
    CLOSED = "closed"


class BlockReason(StrEnum):
    ELIGIBILITY = "eligibility"
    METADATA = "metadata"
    CONFLICT_DETECTED = "conflict_detected"
    PERMANENT_OTHER = "permanent_other"


class StepOutcome(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    ALREADY_THERE = "already_there"
    SKIPPED = "skipped"
    SUPERSEDED = "superseded"
    BLOCKED = "blocked"
    PLANNED = "planned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warning:  # noqa: A001  the contract's own word, read as records.Warning
    code: str
    field: str | None = None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    role: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    captured_at: datetime
    etag: str | None = None
    status: QueueStatus | None = None
    last_session_id: str | None = None
    attempt_count: int | None = None
    do_not_call: bool | None = None
    preserved: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOutcome:
    """What happened in one session. Key on the topic: `queue_item_id`."""

    session_id: str
    queue_item_id: str
    campaign_id: str | None = None
    provider_call_id: str | None = None
    persona_version: str | None = None
    disposition: Disposition
    failing_rules: tuple[EligibilityRule, ...] = ()
    human_review_reason: HumanReviewReason | None = None
    opt_out: bool = False
    summary: str | None = None
    captured_email: str | None = None
    captured_email_verified: bool = False
    callback_window: str | None = None
    callback_at: datetime | None = None
    phone_number: str | None = None
    voicemail_left: bool = False
    account: Account | None = None
    owner_override: str | None = None
    started_at: datetime
    ended_at: datetime
    baseline: Baseline
    transcript: tuple[Utterance, ...] = ()
    warnings: tuple[Warning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    topic: str
    partition: int
    offset: int
    timestamp: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPolicy:
    redaction: str
    transcript: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedBaseline:
    captured_at: datetime
    etag: str | None = None
    columns: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecedingPlan:
    session_id: str
    columns: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerCandidate:
    kind: OwnerKind
    record_id: str
    column: str
    value: str
    override: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityParty:
    kind: PartyKind
    record_id: str
    participation: int
    column: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityParties:
    collection: str
    entity_set: str
    id_column: str
    members: tuple[ActivityParty, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    object_id: str
    record_id: str
    entity_set: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    step_index: int
    operation: Operation
    entity_set: str
    record_id: str
    attributes: Mapping[str, Value]
    increments: Mapping[str, int] = field(default_factory=dict)
    session_column: str | None = None
    do_not_call_column: str | None = None
    owner_candidates: tuple[OwnerCandidate, ...] = ()
    activity_parties: ActivityParties | None = None
    caller: Caller | None = None
    precondition: Precondition


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWriteback:
    """The complete list of CRM writes for one session. Key on the topic: `session_id`."""

    session_id: str
    queue_item_id: str
    campaign_id: str | None = None
    provider_call_id: str | None = None
    persona_version: str | None = None
    disposition: Disposition
    opt_out: bool = False
    policy: PlanPolicy
    digest: str
    outcome_digest: str
    mapping_fingerprint: str
    planned_by: str
    source: Source
    started_at: datetime
    outcome_at: datetime
    baseline: ResolvedBaseline
    preceding: tuple[PrecedingPlan, ...] = ()
    steps: tuple[PlannedStep, ...]
    retired_at: datetime | None = None
    warnings: tuple[Warning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    step_index: int
    operation: Operation
    outcome: StepOutcome
    record_id: str
    http_status: int | None = None
    error_code: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPosition:
    partition: int
    offset: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataGap:
    entity: str
    column: str | None = None
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LastReply:
    kind: str
    http_status: int | None = None
    code: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    what: str
    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WritebackResult:
    """What became of one planned write-back. Key on the topic: `session_id`."""

    session_id: str
    queue_item_id: str
    campaign_id: str | None = None
    provider_call_id: str | None = None
    disposition: Disposition
    opt_out: bool = False
    started_at: datetime
    ended_at: datetime
    mapping_fingerprint: str
    status: ResultStatus
    block_reason: BlockReason | None = None
    message: str | None = None
    conflicts: tuple[str, ...] = ()
    gaps: tuple[MetadataGap, ...] = ()
    last_reply: LastReply | None = None
    first_settled_at: datetime | None = None
    may_have_landed: bool = False
    decision: Decision | None = None
    steps: tuple[StepResult, ...]
    attempts: int
    plan: PlanPosition
    warnings: tuple[Warning, ...] = ()
    settled_at: datetime
    written_by: str


Record = CallOutcome | PlannedWriteback | WritebackResult
