"""The writer beside a plain loop and Pyrallel-Consumer: on the simulator with 50 ms latency, and one partition.

All share one broker and one machine with the simulator, so speed is what they leave each other.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import psutil

from bench.crm import Crm, simulated
from bench.figures import Figure, Section
from bench.writer_load import Queue, plans
from ops.demo.processes import Service, module
from tests.support.brokers import servers, source

LATENCY_S = 0.05
NO_LIMITS = {"requests": 1_000_000, "execution": 1_000_000, "window": 300}
SCALED = {"requests": 600, "execution": 120, "window": 30}
"""The service's own limits over a window of a tenth: the same 20 requests and 4 execution seconds per second."""
MOST_IN_A_REQUEST = 15
"""Plans; a backlog must not be over before its measurement is."""
ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).with_name("writer_peers.py")


def measure() -> Section:
    figures: list[Figure] = []
    with broker() as (bootstrap, what):
        loop = plain_loop(bootstrap)
        figures += idle(bootstrap)
        figures += backlog(bootstrap, loop)
        figures += limited(bootstrap, loop)
        for writers in (2, 3, 8):
            figures += sharing(bootstrap, writers)
        figures += killed(bootstrap)
        figures += memory(bootstrap)
        figures += [Figure("plain loop, sessions per second", loop, "1/s", peer=True)]
        figures += pyrallel(bootstrap)
    setting = (
        f"{what}; simulator with {LATENCY_S * 1000:.0f} ms latency; one partition; one writer process; one identity"
    )
    return Section("writer", setting, figures)


# ---- the figures


def idle(bootstrap: str, sessions: int = 41) -> list[Figure]:
    """Each session is published when the one before has landed."""
    with simulated(latency=LATENCY_S) as crm:
        queue, made = Queue(bootstrap), plans(crm, sessions, items=sessions)
        with writing(queue, crm):
            queue.publish(made[:1])
            wait(lambda: crm.landed() == 1, "the first session has landed")
            time.sleep(2 * LATENCY_S)  # a landing is seen before its request is answered and counted
            before, took = crm.requests(), []
            for number, one in enumerate(made[1:], 2):
                started = time.monotonic()
                queue.publish([one])
                wait(partial(_has_landed, crm, number), "the session has landed", every=0.002)
                took.append(time.monotonic() - started)
            time.sleep(2 * LATENCY_S)
            requests = (crm.requests() - before) / len(took)
    return [
        Figure("idle: CRM requests per session", requests, "", aim="1"),
        Figure("idle: from published to landed, median", statistics.median(took) * 1000, "ms"),
        Figure("idle: sessions per second, one after the other", len(took) / sum(took), "1/s"),
    ]


def backlog(bootstrap: str, loop: float, sessions: int = 8_000) -> list[Figure]:
    """As fast as it goes, without service protection limits."""
    with simulated("--no-limits", latency=LATENCY_S) as crm:
        queue = Queue(bootstrap)
        queue.publish(plans(crm, sessions, items=sessions * 4 // 5))
        with writing(queue, crm, NO_LIMITS):
            rate = rate_of(crm, sessions)
            requests = crm.requests() / sessions
        extra = extra_rows(crm, sessions)
    return [
        Figure("backlog: CRM requests per session", requests, "", aim="0.15 or less", note="metadata included"),
        Figure("backlog: sessions per second without service limits", rate, "1/s"),
        Figure("backlog: times the plain loop", rate / loop, "x", aim="50"),
        Figure("backlog: extra rows", extra, "", aim="0"),
    ]


def limited(bootstrap: str, loop: float) -> list[Figure]:
    """Under the service's limits, for two windows after the first one."""
    window = SCALED["window"]
    with simulated(*limits(SCALED), latency=LATENCY_S) as crm:
        queue, sessions = Queue(bootstrap), 20 * MOST_IN_A_REQUEST * window * 4
        queue.publish(plans(crm, sessions, items=sessions * 4 // 5))
        with writing(queue, crm, SCALED):
            wait(lambda: crm.landed() > 0, "the first session has landed")
            time.sleep(window)
            before, landed, started = crm.limits(), crm.landed(), time.monotonic()
            time.sleep(2 * window)
            after, more, took = crm.limits(), crm.landed() - landed, time.monotonic() - started
        if landed + more == sessions:
            raise RuntimeError("the backlog was over before the measurement was")
    admitted, refused = after["admitted"] - before["admitted"], after["throttled"]
    share = admitted / (SCALED["requests"] * took / window)
    return [
        Figure("under limits: share of the allowed requests used", share * 100, "%", aim="95"),
        Figure(
            "under limits: requests answered 429", refused, "", aim="fewer than 1 %", note=f"of {after['admitted']}"
        ),
        Figure("under limits: sessions per second", more / took, "1/s"),
        Figure("under limits: times the plain loop", more / took / loop, "x", aim="60"),
        Figure("under limits: CRM requests per session", admitted / more, "", aim="0.15 or less"),
    ]


def sharing(bootstrap: str, writers: int) -> list[Figure]:
    """Several writers with one application user, which know nothing of each other; two windows after the first two."""
    window = SCALED["window"]
    with simulated(*limits(SCALED), latency=LATENCY_S) as crm, contextlib.ExitStack() as running:
        for _ in range(writers):
            queue, sessions = Queue(bootstrap), 20 * MOST_IN_A_REQUEST * window * 5 // writers
            queue.publish(plans(crm, sessions, items=sessions * 4 // 5))
            running.enter_context(writing(queue, crm, SCALED))
        wait(lambda: crm.landed() > 0, "the first session has landed")
        time.sleep(2 * window)
        before, landed, started = crm.limits(), crm.landed(), time.monotonic()
        time.sleep(2 * window)
        after, more, took = crm.limits(), crm.landed() - landed, time.monotonic() - started
    if landed + more == sessions * writers:
        raise RuntimeError("the backlog was over before the measurement was")
    admitted, refused = after["admitted"] - before["admitted"], after["throttled"] - before["throttled"]
    share = admitted / (SCALED["requests"] * took / window)
    name = f"{writers} writers with one user"
    return [
        Figure(f"{name}: share of the allowed requests used", share * 100, "%", aim="60 or more"),
        Figure(f"{name}: sessions per second", more / took, "1/s"),
        Figure(f"{name}: requests answered 429", refused, "", note=f"of {admitted + refused}"),
    ]


def killed(bootstrap: str, sessions: int = 6_000) -> list[Figure]:
    """SIGKILL in the middle of a backlog, and a new process at once."""
    with simulated("--no-limits", latency=LATENCY_S) as crm:
        queue = Queue(bootstrap)
        queue.publish(plans(crm, sessions, items=sessions * 4 // 5))
        with writing(queue, crm, NO_LIMITS) as service:
            wait(lambda: crm.landed() > sessions // 3, "a third has landed")
            service.kill()
            at, landed = time.time(), crm.landed()
            service.start()
            wait(lambda: crm.landed() == sessions, "all have landed", seconds=180)
        after = [entry for entry in crm.log(table="phonecall") if entry["at"] > at + 4 * LATENCY_S]
        first = min(e["at"] for e in after if e["operation"] == "create" and e["outcome"] == "committed")
        again = {(e["request"], e["change_set"]) for e in after if e["outcome"] == "refused"}
        extra = extra_rows(crm, sessions)
    return [
        Figure("from SIGKILL to the first new landing", first - at, "s", note="broker's session timeout 6 s"),
        Figure("change sets sent again after SIGKILL", len(again), "", note=f"of {landed} that had landed"),
        Figure("extra rows after SIGKILL", extra, "", aim="0"),
    ]


def memory(bootstrap: str) -> list[Figure]:
    """Resident memory at its highest, while the first 3,000 sessions land."""
    return [
        Figure(f"resident memory at {lag:,} plans of lag", peak_memory(bootstrap, lag) / 2**20, "MiB")
        for lag in (10_000, 1_000_000)
    ]


def peak_memory(bootstrap: str, lag: int) -> int:
    real, peak = 3_000, 0
    with simulated("--no-limits", latency=LATENCY_S) as crm:
        queue, made = Queue(bootstrap), plans(crm, real, items=real)
        queue.publish(made)
        queue.fill(made[0], lag - real)
        with writing(queue, crm, NO_LIMITS) as service:
            process = psutil.Process(service.pid)
            while crm.landed() < real:
                peak = max(peak, process.memory_info().rss)
                time.sleep(0.1)
    return peak


def plain_loop(bootstrap: str, sessions: int = 60) -> float:
    """Sessions per second."""
    with simulated("--no-limits", latency=LATENCY_S) as crm:
        queue = Queue(bootstrap)
        queue.publish(plans(crm, sessions, items=sessions * 4 // 5))
        with peer(sys.executable, "loop", queue, crm):
            return rate_of(crm, sessions)


def pyrallel(bootstrap: str) -> list[Figure]:
    """With as many requests at a time as the service allows. Nothing if it does not install here."""
    python = pyrallel_python()
    if isinstance(python, str):
        print(f"Pyrallel-Consumer is left out: {python}", file=sys.stderr)
        return []
    figures = []
    with simulated("--no-limits", latency=LATENCY_S) as crm:
        queue = Queue(bootstrap)
        queue.publish(plans(crm, 2_000, items=1_600))
        with peer(str(python), "pyrallel", queue, crm):
            rate = rate_of(crm, 2_000)
            figures.append(
                Figure("Pyrallel-Consumer, sessions per second without service limits", rate, "1/s", peer=True)
            )
    window = SCALED["window"]
    with simulated(*limits(SCALED), latency=LATENCY_S) as crm:
        queue = Queue(bootstrap)
        queue.publish(plans(crm, 2_000, items=1_600))
        with peer(str(python), "pyrallel", queue, crm):
            wait(lambda: crm.landed() > 0, "the first session has landed")
            time.sleep(2 * window)
            used, landed = crm.limits(), crm.landed()
        extra = extra_rows(crm, None)
    rate, share = landed / (2 * window), used["throttled"] / (used["admitted"] + used["throttled"])
    return [
        *figures,
        Figure("Pyrallel-Consumer, sessions per second under limits", rate, "1/s", peer=True),
        Figure("Pyrallel-Consumer, requests answered 429 under limits", share * 100, "%", peer=True),
        Figure("Pyrallel-Consumer, extra rows under limits", extra, "", peer=True),
    ]


# ---- what they run on


@contextlib.contextmanager
def broker() -> Iterator[tuple[str, str]]:
    """A real Kafka: given by address, or from Maven. Raises SystemExit with the remedy where there is neither."""
    facts = source.gather("WRITEBACK_TEST_BOOTSTRAP")
    match source.choose("Kafka", facts):
        case source.Source.GIVEN:
            yield str(facts.given), "a given Kafka"
        case source.Source.MAVEN:
            with tempfile.TemporaryDirectory() as folder, servers.kafka_from_maven(Path(folder)) as kafka:
                yield str(kafka["bootstrap"]), "Apache Kafka, one node"
        case _:
            raise SystemExit(
                "the writer's figures need Kafka: set WRITEBACK_TEST_BOOTSTRAP, or install Java 17 and Maven"
            )


@contextlib.contextmanager
def writing(queue: Queue, crm: Crm, allowed: dict[str, int] | None = None) -> Iterator[Service]:
    """A writer process, in write mode."""
    allowed = allowed or {"requests": 6000, "execution": 1200, "window": 300}
    env = {
        "WRITER_WRITE": "true",
        "WRITER_DATAVERSE__URL": crm.base_url,
        "WRITER_DATAVERSE__MAX_REQUESTS": str(allowed["requests"]),
        "WRITER_DATAVERSE__MAX_EXECUTION_S": str(allowed["execution"]),
        "WRITER_DATAVERSE__LIMIT_WINDOW_S": str(allowed["window"]),
        "WRITER_IDENTITIES": json.dumps([{"kind": "none"}]),
        "WRITER_BROKER__BOOTSTRAP_SERVERS": queue.bootstrap,
        "WRITER_BROKER__TOPIC_PREFIX": queue.prefix,
        "WRITER_BROKER__CHECK_TOPIC_POLICIES": "false",
        "WRITER_ENDPOINT_PORT": "0",
        "WRITER_LOG_FORMAT": "json",
        "WRITER_LOG_LEVEL": "warning",
    }
    with tempfile.TemporaryDirectory() as folder:
        service = Service(module("writer"), env=env, output=Path(folder) / "writer.log").start()
        try:
            yield service
            if not service.is_running:
                raise RuntimeError(f"the writer ended: {service.tail()}")
        finally:
            service.kill()


@contextlib.contextmanager
def peer(python: str, which: str, queue: Queue, crm: Crm, in_flight: int = 50) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        command = [python, str(PEERS), which, queue.bootstrap, queue.planned, crm.base_url, str(in_flight)]
        service = Service(command, env={}, output=Path(folder) / "peer.log").start()
        try:
            yield
        finally:
            if not service.is_running:
                print(f"the peer ended: {service.tail()}", file=sys.stderr)
            service.kill()


def limits(allowed: dict[str, int]) -> Sequence[str]:
    return (
        *("--requests-limit", str(allowed["requests"])),
        *("--execution-limit", str(allowed["execution"])),
        *("--window", str(allowed["window"])),
    )


def rate_of(crm: Crm, sessions: int) -> float:
    """Sessions per second, from the first landing to the last."""
    wait(lambda: crm.landed() > 0, "the first session has landed", every=0.01)
    first, started = crm.landed(), time.monotonic()
    wait(lambda: crm.landed() >= sessions, "all sessions have landed", seconds=600, every=0.05)
    return (sessions - first) / (time.monotonic() - started)


def extra_rows(crm: Crm, sessions: int | None) -> int:
    """Phone calls and tasks beyond one of each per session."""
    calls, tasks = crm.rows("phonecalls"), crm.rows("tasks")
    doubled = [len(rows) - len({row["medx_idempotencykey"] for row in rows}) for rows in (calls, tasks)]
    return sum(doubled) + (0 if sessions is None else abs(len(calls) - sessions) + abs(len(tasks) - sessions))


def wait(condition: Callable[[], bool], what: str, *, seconds: float = 60, every: float = 0.1) -> None:
    """Raises TimeoutError, naming what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds:.0f} s it is still not so that {what}")
        time.sleep(every)


def pyrallel_python() -> Path | str:
    """An interpreter that has Pyrallel-Consumer, in an environment of its own; or why there is none."""
    candidates = (os.environ.get("BENCH_PYTHON"), "python3.12", "python3.13", sys.executable)
    base = next((found for name in candidates if name and (found := shutil.which(name)) and _is_new(found)), None)
    if base is None:
        return "it needs Python 3.12 or later; name one with BENCH_PYTHON=/path/to/python3.12"
    folder = ROOT / ".cache" / "pyrallel"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([base, "-m", "venv", str(folder)], check=True)
        if subprocess.run(peer_installation(python, ROOT), check=False).returncode:
            return "what requirements/peer.txt names does not install"
        (folder / "complete").touch()
    return python


def peer_installation(python: Path, project: Path) -> list[str]:
    """The command that installs exactly what is locked, whatever newer versions a registry offers."""
    lock = project / "requirements" / "peer.txt"
    return [str(python), "-m", "pip", "--quiet", "install", "--no-deps", "--require-hashes", "-r", str(lock)]


def _has_landed(crm: Crm, number: int) -> bool:
    return crm.landed() == number


def _is_new(python: str) -> bool:
    probe = "import sys; sys.exit(sys.version_info < (3, 12))"
    return subprocess.run([python, "-c", probe], check=False, capture_output=True).returncode == 0
