"""The two things that a pair is about, as actions. One fault at a time: everything else is calm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from schemas.placement import partition_of
from tests.proof.broker import OUTCOMES, Fate
from tests.proof.choices import Choices
from tests.proof.faults import InputFault, Membership, NetworkFault
from tests.proof.planners import Junk
from writer.core import messages

if TYPE_CHECKING:
    from tests.proof.world import World
    from tests.proof.writers import WriterProcess

Act = Callable[["World", Choices], bool]

_ABORTS = {
    NetworkFault.CODE_1, NetworkFault.CODE_6, NetworkFault.CODE_7, NetworkFault.CODE_14, NetworkFault.CODE_15,
    NetworkFault.CODE_16, NetworkFault.CODE_19, NetworkFault.BROKER_DOWN, NetworkFault.COORDINATOR, NetworkFault.RESET,
}  # fmt: skip
"""The engine hears of them as of a batch that came to nothing."""
_FENCES = {NetworkFault.CODE_22, NetworkFault.CODE_25, NetworkFault.CODE_27, NetworkFault.CODE_82}
_ENDS_PROCESS = {NetworkFault.CODE_29, NetworkFault.CODE_58}
_WAITS = {
    NetworkFault.BLACK_HOLE: 60.0, NetworkFault.LATENCY: 2.0, NetworkFault.SLOW_DRIP: 10.0, NetworkFault.THROTTLED: 5.0,
}  # fmt: skip


def network(world: World, choices: Choices) -> bool:
    """The network fault of this run strikes."""
    fault = world.bias.network
    assert fault is not None
    writer = world.writers[choices.below(len(world.writers))]
    if fault in _WAITS:
        world.pass_time(_WAITS[fault])
        return _done(world, fault)
    if fault in (NetworkFault.REPLIES_ONLY, NetworkFault.HALF_OPEN, NetworkFault.DNS, NetworkFault.TLS):
        return _requests_fail(world, fault, choices)
    publishing = writer.publishing
    if not writer.awake or publishing is None:
        return False
    if fault in _ENDS_PROCESS:
        world.kill(writer)
    elif fault is NetworkFault.CODE_10:
        return _too_large(world, writer)
    elif fault in _FENCES:
        world.kick(writer)
    elif publishing.transaction is not None:
        world.abort(writer, fault.value)
    else:
        return False
    return _done(world, fault)


def _requests_fail(world: World, fault: NetworkFault, choices: Choices) -> bool:
    waiting = [one for one in world.network if one.answer is None]
    if not waiting:
        return False
    sending = waiting[choices.below(len(waiting))]
    world.loses(sending, arrives=fault is NetworkFault.REPLIES_ONLY, left=fault is not NetworkFault.DNS)
    return _done(world, fault)


def _too_large(world: World, writer: WriterProcess) -> bool:
    """The broker refuses one copy or rejection of the batch for its size."""
    publishing = writer.publishing
    assert publishing is not None
    if publishing.transaction is not None:
        return False
    numbers = [n for n, one in enumerate(publishing.effect.publications) if not hasattr(one, "result")]
    if not numbers:
        return False
    writer.publishing = None
    writer.tell(messages.NotPublished("MSG_SIZE_TOO_LARGE", {numbers[0]}))
    return _done(world, NetworkFault.CODE_10)


def _done(world: World, fault: Any) -> bool:
    world.happened[fault] += 1
    world.tell(f"{fault} strikes")
    return True


def membership(world: World, choices: Choices) -> bool:  # noqa: C901  one case for each
    """The group changes as this run says."""
    change = world.bias.membership
    assert change is not None
    n = choices.below(len(world.writers))
    writer = world.writers[n]
    match change:
        case Membership.JOIN | Membership.ROLLING_UP:
            if writer.alive:
                return False
            world.restart(n)
        case Membership.LEAVE | Membership.ROLLING_DOWN:
            if not writer.awake or writer.stopping:
                return False
            writer.stop()
        case Membership.KILL | Membership.TO_NOTHING | Membership.ALL_AT_ONCE:
            for one in [writer] if change is Membership.KILL else world.writers:
                world.kill(one)
            world.rebalance_planners(shift=1)
        case Membership.ZOMBIE | Membership.SLOW_POLL | Membership.TWICE | Membership.PROTOCOL:
            if writer.member not in world.writers_group.generation:
                return False
            writer.asleep = change is Membership.ZOMBIE
            world.kick(writer)
        case Membership.STORM | Membership.RAISED:
            world.rebalance_planners(shift=choices.below(2))
            moved = False
            for partition in range(world.setup.partitions):
                moved = world.moves(partition, choices) or moved
    return _done(world, change)


_INJECTION = "x')/..$batch%0d%0a"


def inputs(world: World, choices: Choices) -> bool:  # noqa: C901  one case for each
    """A sender publishes what this run is about."""
    fault = world.bias.inputs
    assert fault is not None
    if not world.outcomes:
        return False
    outcome = world.outcomes[choices.below(len(world.outcomes))]
    other = replace(outcome, session_id=f"odd-{len(world.broker.published)}")
    for session in (other.session_id, _INJECTION):
        world.baselines[session] = world.baselines.get(outcome.session_id, 0)
    partition = partition_of(outcome.queue_item_id.encode(), world.setup.partitions)
    key = outcome.queue_item_id

    def publish(value: Any, *, key: str | None = key, at: int = partition, headers: Any = ()) -> None:
        world.append(OUTCOMES, at, key, value, headers)

    match fault:
        case InputFault.NOT_AVRO | InputFault.BAD_UTF8 | InputFault.NESTED | InputFault.BOMB:
            publish(Junk(fault.value))
        case InputFault.UNKNOWN_SCHEMA:
            publish(Junk("unknown schema"))
        case InputFault.NULL_KEY:
            publish(other, key=None)
        case InputFault.TOMBSTONE:
            publish(None)
        case InputFault.TOO_LARGE:
            world.large[world.broker.end(OUTCOMES, partition), partition] = other
            publish(Junk("too large"))
        case InputFault.DUPLICATE | InputFault.REORDERED:
            publish(outcome)
        case InputFault.YEAR_OFF:
            publish(replace(other, started_at=other.started_at.replace(year=other.started_at.year + 1)))
        case InputFault.UNKNOWN_IDS:
            item = "00000000-0000-4000-8000-000000000000"
            publish(
                replace(other, queue_item_id=item), key=item, at=partition_of(item.encode(), world.setup.partitions)
            )
        case InputFault.INJECTION:
            publish(replace(other, session_id=_INJECTION))
        case InputFault.NUMBERS:
            publish(replace(other, baseline=replace(other.baseline, preserved={"medx_priority": float("inf")})))
        case InputFault.CHARACTERS:
            publish(replace(other, summary="\\0\u202e\U0001f600\u0430"))
        case InputFault.TRACEPARENT:
            publish(other, headers=[("traceparent", b"0" * 10_000)])
        case InputFault.TRANSACTIONS:
            transaction = world.broker.begin("a call system", "none", {})
            transaction.records.append(world.append(OUTCOMES, partition, key, other, (), Fate.OPEN))
            world.broker.finish(transaction, Fate.ABORTED)
        case InputFault.PLACEMENT:
            if world.setup.partitions == 1:
                return False
            publish(other, at=1 - partition)
    return _done(world, fault)
