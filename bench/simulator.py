"""How fast the simulator answers, beside an HTTP server of the same kind that does nothing.

No other emulator of Dataverse speaks `$batch`, change sets or preconditions over HTTP, so there is no
peer to pick instead.
The empty server is the ceiling.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import count

import psutil

from bench import simulator_size
from bench.crm import simulated
from bench.figures import Figure, Section

CONNECTIONS = 16
SECONDS = 3.0
PER_BATCH = 10
_PROCESS = "import sys; sys.exit(__import__('bench.simulator', fromlist=['empty']).empty())"


def measure() -> list[Section]:
    return [_speed(), _size()]


def _size() -> Section:
    return Section(
        title="Simulator: size and processor time",
        setting="medians; ratios of two measurements that take turns",
        figures=simulator_size.figures(lambda: _change_sets(1), _creates),
    )


def _speed() -> Section:
    with _empty_server() as url:
        nothing = _rate(url, _gets("/"))
    with simulated("--no-limits", latency=0) as crm:
        who = _rate(crm.base_url, _gets("/api/data/v9.2/WhoAmI"))
        creates = _rate(crm.base_url, _creates())
        one = _rate(crm.base_url, _change_sets(1))
        ten = _rate(crm.base_url, _change_sets(PER_BATCH)) * PER_BATCH
        rows = sum(crm.counters()["rows"].values())
        start = time.perf_counter()
        with urllib.request.urlopen(
            f"{crm.base_url}/api/data/v9.2/phonecalls?$filter=medx_idempotencykey eq 'none'".replace(" ", "%20")
        ):
            scan = time.perf_counter() - start
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:  # memory that grew before would hide it
        in_process, kibibytes = fresh.submit(_core).result()
    return Section(
        title="Simulator",
        setting=(
            f"one process, no latency, no limits, {CONNECTIONS} connections, {SECONDS:.0f} s each,"
            " client on the same machine"
        ),
        figures=[
            Figure("empty aiohttp server", nothing, "requests/s", peer=True, note="the ceiling of this kind of server"),
            Figure("WhoAmI", who, "requests/s"),
            Figure("create-only PATCH of a phone call", creates, "requests/s"),
            Figure("$batch with one change set of 4", one, "change sets/s", aim="more than the writer sends"),
            Figure(f"$batch with {PER_BATCH} change sets of 4", ten, "change sets/s", aim="more than the writer sends"),
            Figure("the same without HTTP", in_process, "change sets/s", note="reader, transaction, log, writer"),
            Figure("memory per change set, log included", kibibytes, "KiB", note="two rows new, two versions more"),
            Figure(
                f"first filter on a column of {rows:,} rows",
                scan * 1000,
                "ms",
                note="builds an index; later ones use it",
            ),
        ],
    )


def _gets(path: str) -> Iterator[bytes]:
    while True:
        yield f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _creates() -> Iterator[bytes]:
    while True:
        yield _post(
            f"/api/data/v9.2/phonecalls({uuid.uuid4()})", "PATCH", json.dumps(_CALL).encode(), "If-None-Match: *\r\n"
        )


def _post(path: str, method: str, body: bytes, headers: str = "") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


_CALL = {
    "subject": "Disposition: no_answer.",
    "description": "Disposition: no_answer.",
    "phonenumber": "+15305550101",
    "directioncode": True,
    "actualstart": "2026-01-01T00:00:00Z",
    "actualend": "2026-01-01T00:01:00Z",
    "actualdurationminutes": 1,
    "leftvoicemail": False,
    "regardingobjectid_account_phonecall@odata.bind": "/accounts(66666666-aaaa-4bbb-8ccc-000000000001)",
}
_accounts = count()


def _change_set(number: int) -> str:
    """Phone call created and completed, a row patched, a task created: what one write-back needs."""
    record = uuid.uuid4()
    account = f"66666666-aaaa-4bbb-8ccc-{next(_accounts) % 10 + 1:012d}"
    operations = (
        (f"phonecalls({record})", "If-None-Match: *", _CALL | {"medx_idempotencykey": str(record)}),
        (f"phonecalls({record})", "If-Match: *", {"statecode": 1, "statuscode": 2}),
        (f"accounts({account})", "If-Match: *", {"description": "called"}),
        (f"tasks({record})", "If-None-Match: *", {"subject": "Callback", "medx_idempotencykey": str(record)}),
    )
    parts = "".join(
        f"--c{number}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
        f"Content-ID: {at}\r\n\r\n"
        f"PATCH /api/data/v9.2/{url} HTTP/1.1\r\nContent-Type: application/json\r\n{condition}\r\n\r\n"
        f"{json.dumps(body)}\r\n"
        for at, (url, condition, body) in enumerate(operations, 1)
    )
    return f"--b\r\nContent-Type: multipart/mixed; boundary=c{number}\r\n\r\n{parts}--c{number}--\r\n\r\n"


def _batch(change_sets: int) -> bytes:
    return ("".join(_change_set(number) for number in range(change_sets)) + "--b--\r\n").encode()


def _change_sets(change_sets: int) -> Iterator[bytes]:
    while True:
        body = _batch(change_sets)
        head = "POST /api/data/v9.2/$batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/mixed; boundary=b\r\n"
        yield f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _rate(url: str, requests: Iterator[bytes]) -> float:
    """Answered requests per second over all connections. Bodies are made before, so the client costs little."""
    ready = [next(requests) for _ in range(2000)]
    return asyncio.run(_load(url, ready, requests))


async def _load(url: str, ready: list[bytes], more: Iterator[bytes]) -> float:
    host, port = url.removeprefix("http://").split(":")
    answered = 0
    start = time.perf_counter()

    async def connection() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection(host, int(port))
        while time.perf_counter() - start < SECONDS:
            writer.write(ready.pop() if ready else next(more))
            head = await reader.readuntil(b"\r\n\r\n")
            status = head[9:12]
            if not status.startswith(b"2"):
                raise RuntimeError(f"the simulator answered {status.decode()}")
            length = head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0]
            if length:
                await reader.readexactly(int(length))
            answered += 1
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(connection())
    return answered / (time.perf_counter() - start)


def _core() -> tuple[float, float]:
    """Change sets per second without a socket, and KiB that each leaves behind."""
    from simulator.crm import Call
    from simulator.service import Simulator
    from simulator.settings import Settings
    from simulator.webapi import Request, handle
    from simulator.webapi.batch.run import Batch
    from simulator.webapi.messages import Headers

    core = Simulator(Settings())
    user = "33333333-aaaa-4bbb-8ccc-000000000001"
    headers = Headers({"content-type": "multipart/mixed; boundary=b"})
    bodies = [_batch(PER_BATCH) for _ in range(200)]
    before = psutil.Process().memory_info().rss  # not ru_maxrss: a process inherits it from the one that starts it
    start = time.perf_counter()
    for body in bodies:
        reply = Batch(core.organization, Call(user), handle).run(Request("POST", "$batch", "", headers, body))
        if reply.status != 200:
            raise RuntimeError(reply.body.decode()[:500])
    seconds = time.perf_counter() - start
    grown = psutil.Process().memory_info().rss - before
    landed = len(bodies) * PER_BATCH
    return landed / seconds, grown / 1024 / landed


@contextmanager
def _empty_server() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-c", _PROCESS], stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None:
            raise RuntimeError("no output")
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def empty() -> int:
    """A server that says nothing, in a process of its own; prints its address."""
    from aiohttp import web

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(body=b"{}")

    async def serve() -> None:
        runner = web.ServerRunner(web.Server(answer, access_log=None))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()

    asyncio.run(serve())
    return 0
