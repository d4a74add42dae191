"""What is broken in turn, how it is healed, and which metric must show it. One table, read from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from simulator import tenant
from tests.soak.judge import OLDEST, SILENT_S, Sign, Snapshot, View
from tests.soak.system import PARTITIONS, System

_REQUEUED = "writeback_requeue_count"
_WRITE = {"path": r"\$batch", "body": "PATCH ", "user": tenant.APPLICATION_USER}
_MISSING_PRIVILEGE = {
    "kind": "status", "status": 403, "code": "0x80040220",
    "message": "Principal user is missing prvCreateActivity privilege (Id=2) on OTC=4210 for entity 'phonecall'.",
}  # fmt: skip


@dataclass(frozen=True)
class Phase:
    """`broken` breaks something for the length of its block. It stays broken for `hold_s` at least."""

    name: str
    broken: Callable[[System], AbstractContextManager[None]]
    signs: tuple[Sign, ...]
    hold_s: float = 15
    broker_out: bool = False
    brief: bool = False
    """Also in a short run."""


def _silence(kind: str) -> Sign:
    name = {"writer": "writeback", "planner": "planner"}[kind] + "_broker_heard_timestamp_seconds"

    def silent_for(view: View) -> float:
        return min((each.at - each.total(name) for each in view.now.of(kind)), default=float("nan"))

    return Sign(f"time() - {name} > 30", lambda v: silent_for(v) > SILENT_S, lambda v: silent_for(v) < SILENT_S / 2)


def _gauge(says: str, name: str, above: float = 0, **labels: str) -> Sign:
    """A gauge that is 0, or small, while all is well."""
    return Sign(says, lambda v: v.now.highest(name, **labels) > above, lambda v: v.now.highest(name, **labels) <= above)


def _counter(says: str, name: str, above: float = 0, **labels: str) -> Sign:
    """A counter that stands still while all is well."""
    return Sign(says, lambda v: v.increase(name, **labels) > above, lambda v: v.lately_increased(name, **labels) == 0)


_NOT_READY = Sign(
    "/ready of every writer is 503",
    lambda v: bool(v.now.of("writer")) and not any(each.ready for each in v.now.of("writer")),
    lambda v: all(each.ready for each in v.now.of("writer")),
)
_UNSETTLED = _gauge("writeback_oldest_unsettled_plan_age_seconds > 30", OLDEST["writer"], 30)
_UNPLANNED = _gauge("planner_oldest_outcome_age_seconds > 30", OLDEST["planner"], 30)
_BROKER_OUT = (
    _silence("writer"), _NOT_READY, _UNSETTLED, _UNPLANNED,
    _gauge('planner_waiting{cause="broker"} = 1', "planner_waiting", cause="broker"),
)  # fmt: skip


@contextmanager
def _killed(system: System) -> Iterator[None]:
    system.kafka.kill()
    system.broker_line.refuse()
    yield
    system.start_kafka()
    system.broker_line.open()


@contextmanager
def _cut_off(system: System) -> Iterator[None]:
    """Of the services; the call system goes on publishing."""
    system.broker_line.silence()
    yield
    system.broker_line.open()


@contextmanager
def _frozen(system: System) -> Iterator[None]:
    system.kafka.freeze()
    yield
    system.kafka.thaw()


@contextmanager
def _without_partitions(system: System) -> Iterator[None]:
    """Three partitions, and a writer that comes as the fourth member."""
    with system.members():
        system.spare.start()
        yield
        system.spare.stop()


@contextmanager
def _stuck(system: System) -> Iterator[None]:
    system.stick_planner()
    yield
    system.free_planner()


@contextmanager
def _secret_expired(system: System) -> Iterator[None]:
    application = {"client_id": tenant.CLIENT_ID, "secret": tenant.CLIENT_SECRET}
    system.control("applications", {**application, "expired": True})
    system.control("expire-tokens", {})
    yield
    system.control("applications", {**application, "expired": False})


@contextmanager
def _registry_away(system: System) -> Iterator[None]:
    """While an outcome comes in a schema that the planner has not met yet."""
    outcome = system.outcome()
    value = system.in_an_older_schema(outcome)
    system.registry_line.refuse()
    system.publish(outcome.queue_item_id, value)
    yield
    system.registry_line.open()


@contextmanager
def _faulty(system: System, **rule: object) -> Iterator[None]:
    identity = system.simulator.fault(times=None, **rule)
    yield
    system.simulator.call(lambda simulator: simulator.rules.remove(identity))


@contextmanager
def _everything_blocked(system: System) -> Iterator[None]:
    with _faulty(system, when=_WRITE, do=[_MISSING_PRIVILEGE]):
        yield


@contextmanager
def _everything_rejected(system: System) -> Iterator[None]:
    for number in range(40):
        system.publish(f"item-{number}", b"this is no outcome")
    yield


@contextmanager
def _one_fails_alone(system: System) -> Iterator[None]:
    outcome = system.outcome()
    busy = {"kind": "error", "name": "sql_deadlock"}
    with _faulty(system, when={**_WRITE, "body": outcome.queue_item_id}, do=[busy]):
        system.publish(outcome.queue_item_id, system.in_todays_schema(outcome))
        yield


@contextmanager
def _dry_run(system: System) -> Iterator[None]:
    system.dry.start()
    yield
    system.dry.stop()


@contextmanager
def _storm(system: System) -> Iterator[None]:
    with system.members(come_and_go=True):
        yield


def _without(view: View) -> bool:
    """One that hears the broker, and has had no partition for some time: not one that has just begun."""

    def none_at(snapshot: Snapshot) -> set[str]:
        return {
            each.process
            for each in snapshot.of("writer")
            if each.total("writeback_assigned_partitions") == 0 and each.total(_heard("writer")) > 0
        }

    return bool(none_at(view.now) & none_at(view.lately))


_FAILED_FIVE_TIMES = Sign(
    "writeback_requeue_count above 4",
    lambda v: v.increase(_REQUEUED + "_count") > v.increase(_REQUEUED + "_bucket", le="4.0"),
    lambda v: v.lately_increased(_REQUEUED + "_count") == 0,
)
_DRY = Sign(
    'writeback_build_info{mode="dry run"} = 1',
    lambda v: v.now.total("writeback_build_info", mode="dry run") > 0,
    lambda v: v.now.total("writeback_build_info", mode="dry run") == 0,
)

PHASES = (
    Phase("broker killed", _killed, _BROKER_OUT, hold_s=50, broker_out=True, brief=True),
    Phase("everything rejected", _everything_rejected, (
        _counter('planner_outcomes_total{outcome="rejected"} grows', "planner_outcomes_total", 30, outcome="rejected"),
        _counter("planner_rejections_total{reason} grows", "planner_rejections_total", 30),
    ), hold_s=5, brief=True),
    Phase("sign-in refused", _secret_expired, (
        Sign(
            "writeback_signed_in = 0",
            lambda v: 0 in v.now.values("writeback_signed_in"),
            lambda v: set(v.now.values("writeback_signed_in")) == {1},
        ),
        _counter(
            'writeback_sign_in_failures_total{cause="secret_expired"} grows', "writeback_sign_in_failures_total",
            cause="secret_expired",
        ),
        _UNSETTLED,
    ), brief=True),
    Phase("everything blocked", _everything_blocked, (
        _gauge("writeback_held_plans > 0", "writeback_held_plans"),
        _counter('writeback_outcomes_total{status="blocked"} grows', "writeback_outcomes_total", status="blocked"),
        _gauge("writeback_outage = 1", "writeback_outage"),
    )),
    Phase("broker cut off", _cut_off, _BROKER_OUT, hold_s=50, broker_out=True),
    Phase("a writer without partitions", _without_partitions, (
        Sign("writeback_assigned_partitions = 0", _without, lambda v: not _without(v)),
    ), hold_s=5),
    Phase("planner stuck", _stuck, (
        _UNPLANNED, _gauge("planner_waiting_outcomes > 5", "planner_waiting_outcomes", 5),
    )),
    Phase("registry away", _registry_away, (
        _gauge('planner_waiting{cause="registry"} = 1', "planner_waiting", cause="registry"), _UNPLANNED,
    )),
    Phase("a plan fails alone", _one_fails_alone, (
        _counter("writeback_requeues_total grows", "writeback_requeues_total"), _UNSETTLED,
        _FAILED_FIVE_TIMES,
    )),
    Phase("dry run left on", _dry_run, (_DRY,), hold_s=5, brief=True),
    Phase("broker frozen", _frozen, _BROKER_OUT, hold_s=50, broker_out=True),
    Phase("rebalance storm", _storm, (
        _counter("writeback_rebalances_total grows by more than 6", "writeback_rebalances_total", 6),
    )),
)  # fmt: skip


def healthy(view: View) -> bool:
    """What an operator would call well: everything answers and is ready, nothing waits for long."""
    now = view.now
    return (
        all(each.values is not None and each.ready for each in now.readings)
        and all(each.at - each.total(_heard(each.kind)) < SILENT_S / 2 for each in now.readings)
        and now.total("planner_waiting") == 0
        and now.total("writeback_held_plans") == 0
        and now.total("writeback_outage") == 0
        and set(now.values("writeback_signed_in")) == {1}
        and now.highest(OLDEST["writer"]) < SILENT_S
        and now.highest(OLDEST["planner"]) < SILENT_S
        and now.total("writeback_assigned_partitions") == PARTITIONS
    )


def _heard(kind: str) -> str:
    return ("planner" if kind == "planner" else "writeback") + "_broker_heard_timestamp_seconds"
