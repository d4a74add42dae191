"""What the engine hears and what it asks for, as values. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from schemas.headers import Reason
from schemas.records import PlannedWriteback
from writer.core.assignment import AssignedPartition, ConsumerRecord
from writer.core.attempt import PlanInFlight
from writer.core.exchanges import Exchange, Part
from writer.core.gate import Blocked, Cleared
from writer.core.identities import Place
from writer.core.ledger import Commit
from writer.core.publishing import Publication
from writer.core.replies import Judgement
from writer.core.reports import Report


@dataclass(frozen=True, slots=True)
class Now:
    """`s`: monotonic seconds."""

    s: float
    utc: datetime


# What happened. The consumer's thread reports partitions, records and log ends in their order; what comes from
# elsewhere may be about an assignment that is over, and names it.


@dataclass(frozen=True, slots=True)
class AssignedPartitions:
    partitions: Sequence[AssignedPartition]


@dataclass(frozen=True, slots=True)
class Revoking:
    """They are to be given up: `Released` says when that may happen."""

    partitions: Collection[int]


@dataclass(frozen=True, slots=True)
class Lost:
    """Another writer has them already."""

    partitions: Collection[int]


@dataclass(frozen=True, slots=True)
class Missed:
    """Offsets that were taken away before anybody read them: from `first` on, up to (not including) `end`."""

    partition: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Received:
    records: Sequence[ConsumerRecord]


@dataclass(frozen=True, slots=True)
class Decoded:
    """The plan of this record, or every reason why it is none."""

    record: ConsumerRecord
    plan: PlannedWriteback | Sequence[Reason]
    trace: object = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Nobody can say at present what this record holds."""

    record: ConsumerRecord
    problem: str
    remedy: str
    trace: object = None


@dataclass(frozen=True, slots=True)
class ResultsRead:
    """What earlier results of this partition say is known from now on. It was asked for in the assignment with this
    epoch.
    """

    partition: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Verified:
    """The gate's verdict, or why Dataverse did not say."""

    plan: PlanInFlight
    verdict: Cleared | Blocked | Judgement


@dataclass(frozen=True, slots=True)
class Replied:
    """How a `Send` ended."""

    number: int
    exchange: Exchange


@dataclass(frozen=True, slots=True)
class Published:
    """The batch is acknowledged. `offsets`: of each of its records; None if the broker takes no record so large.
    `refused`: the partitions whose position was not committed with it, and the broker's name for why.
    """

    offsets: Sequence[int | None]
    refused: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NotPublished:
    """Nothing of the batch counts. `too_large`: records of it that the broker does not take, whatever is done."""

    code: str
    too_large: Collection[int] = frozenset()


@dataclass(frozen=True, slots=True)
class EndOffsets:
    """Where the logs of these partitions end, and when the broker was asked for that, Unix time: not before they were
    assigned.
    """

    offsets: Mapping[int, int]
    asked_at: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Begin nothing more; `Stopped` says when what was in flight has settled."""


Input = (
    AssignedPartitions
    | Revoking
    | Lost
    | Missed
    | Received
    | Decoded
    | Unreadable
    | ResultsRead
    | Verified
    | Replied
    | Published
    | NotPublished
    | EndOffsets
    | Stop
)


# What to do.


@dataclass(frozen=True, slots=True)
class Decode:
    """Answered by `Decoded` or `Unreadable`."""

    record: ConsumerRecord


@dataclass(frozen=True, slots=True)
class ReadResults:
    """Read the results of these partitions, in the assignment with this epoch; answered by `ResultsRead` for each."""

    epochs: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class ForgetResults:
    partitions: Collection[int]


@dataclass(frozen=True, slots=True)
class Verify:
    """Ask for the metadata and owners that the plan names; all of it anew if `anew`. Answered by `Verified`."""

    plan: PlanInFlight
    anew: bool


@dataclass(frozen=True, slots=True)
class Send:
    """One `$batch` through this place. Answered by `Replied`."""

    number: int
    place: Place
    parts: Sequence[Part]
    operation: str
    traces: Sequence[object]
    """Of the plans that share it, in their order."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish these, and commit these offsets with them under the generation of `group`. Answered by `Published` or
    `NotPublished`; one at a time.
    """

    publications: Sequence[Publication]
    positions: Sequence[Commit]
    group: Any


@dataclass(frozen=True, slots=True)
class Pause:
    """These partitions are paused from now on, the others are not."""

    partitions: Collection[int]


@dataclass(frozen=True, slots=True)
class Released:
    """These partitions may be given up."""

    partitions: Collection[int]


@dataclass(frozen=True, slots=True)
class Ended:
    """A record's way ends here. `error`: the code of what kept its plan from landing."""

    trace: object
    outcome: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """The process cannot go on."""

    why: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """What was in flight has settled, or it took too long."""


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Call `turn` at this time, if nothing happens before."""

    at: float


Effect = (
    Decode
    | ReadResults
    | ForgetResults
    | Verify
    | Send
    | Publish
    | Pause
    | Released
    | Ended
    | Fail
    | Stopped
    | WakeAt
    | Report
)
