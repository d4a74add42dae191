"""What the simulator costs when it is large: start, memory, an open page; and a change set's processor time.

Processor time, because a machine with other work on it gives it to the simulator unevenly; ratios of two measurements
that take turns, and their median, for the same reason.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import psutil

from bench.figures import Figure

ROWS = 1_000_000
FEW_ROWS = 50_000
STARTS = 3
ROUNDS = 31
LOOKS = 50
REQUESTS = 1000
CONNECTIONS = 16
_BARE = "import sys; sys.exit(__import__('bench.simulator_size', fromlist=['bare']).bare())"
_AT_ONCE = 10_000
_SCHEDULED = 2
"""Makes a process's number the id of its clock, as `clock_getcpuclockid` of C does; Python has it for threads alone."""


@dataclass
class Served:
    """A server in a process of its own."""

    url: str
    process: psutil.Process
    started: float

    def cpu(self) -> float:
        """Seconds of processor time. Where the kernel has an exact clock of another process, from that: what psutil
        reads goes in hundredths of a second, and a bare server answers a thousand requests in eight of them.
        """
        if psutil.LINUX:
            return time.clock_gettime(~self.process.pid << 3 | _SCHEDULED)
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def resident(self) -> float:
        """MiB."""
        return float(self.process.memory_info().rss) / 2**20


@contextmanager
def served(*command: str, port_file: Path | None = None) -> Iterator[Served]:
    """The command's server, once it has written its address to the file or, without one, to its output."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None:
            raise RuntimeError("no output")
        if port_file is None:
            url = process.stdout.readline().strip()
        else:
            while not port_file.exists():
                if process.poll() is not None:
                    raise RuntimeError("the simulator did not start")
                time.sleep(0.005)
            url = port_file.read_text(encoding="utf-8")
        yield Served(url, psutil.Process(process.pid), time.perf_counter() - begun)
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def simulator(*options: str) -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        command = ["-m", "simulator", "serve", "--port", "0", "--port-file", str(port_file), "--auth", "none"]
        with served(*command, "--no-limits", *options, port_file=port_file) as found:
            yield found


def figures(change_sets: Callable[[], Iterator[bytes]], creates: Callable[[], Iterator[bytes]]) -> list[Figure]:
    """All of them; the arguments make requests."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            *_processor_time(change_sets),
            *_memory(Path(folder)),
            *_a_million(Path(folder) / "million.sqlite", creates),
        ]


def _processor_time(change_sets: Callable[[], Iterator[bytes]]) -> list[Figure]:
    ratios, rates, bares = [], [], []
    with served("-c", _BARE) as empty, simulator() as crm:
        _per_cpu_second(crm, change_sets(), 500)
        _per_cpu_second(empty, change_sets(), 500)
        for _ in range(ROUNDS):
            bares.append(_per_cpu_second(empty, change_sets(), REQUESTS))
            rates.append(_per_cpu_second(crm, change_sets(), REQUESTS))
            ratios.append(rates[-1] / bares[-1])
    return [
        Figure(
            "bare aiohttp application that reads the same requests",
            statistics.median(bares),
            "per CPU second",
            peer=True,
        ),
        Figure("change sets of four, one in a request", statistics.median(rates), "per CPU second"),
        Figure("the same, as a share of the bare application", statistics.median(ratios), "", aim="0.25"),
    ]


def _memory(folder: Path) -> list[Figure]:
    """KiB a row, log included: while the rows are made, and after a restart that has looked at each of them."""
    file = folder / "few.sqlite"
    with simulator() as crm:
        nothing = crm.resident()
    with simulator("--sqlite", str(file)) as crm:
        for start in range(0, FEW_ROWS, _AT_ONCE):
            _seed(crm, start)
        made = (crm.resident() - nothing) * 1024 / FEW_ROWS
    with simulator("--sqlite", str(file)) as crm:
        started = (crm.resident() - nothing) * 1024 / FEW_ROWS
        _get(crm, "/api/data/v9.2/phonecalls?$filter=contains(subject,'nothing')")
        looked = (crm.resident() - nothing) * 1024 / FEW_ROWS
    return [
        Figure(f"memory a row while {FEW_ROWS:,} are made", made, "KiB"),
        Figure("the same after a restart", started, "KiB"),
        Figure(
            "the same after a restart and a look at every row, as a share of before",
            looked / made,
            "",
            aim="1 or less",
        ),
    ]


def _a_million(file: Path, creates: Callable[[], Iterator[bytes]]) -> list[Figure]:
    subprocess.run([sys.executable, "-c", _FILL, str(file), str(ROWS)], check=True)
    seconds, processor, resident = [], [], []
    for _ in range(STARTS):
        with simulator("--sqlite", str(file)) as crm:
            seconds.append(crm.started)
            processor.append(crm.cpu())
            resident.append(crm.resident())
    with simulator("--sqlite", str(file)) as crm:
        large = _page_share(crm, creates)
    with simulator() as crm:
        small = _page_share(crm, creates)
    return [
        Figure(f"start with {ROWS:,} rows and their log in SQLite", statistics.median(seconds), "s", aim="10"),
        Figure("processor time of that", statistics.median(processor), "s"),
        Figure("resident then", statistics.median(resident), "MiB", aim="1,024"),
        Figure(f"rate that an open page costs at {ROWS:,} rows", 100 * large, "%", aim="under 5"),
        Figure("the same at a few thousand rows", 100 * small, "%", aim="under 5"),
    ]


_FILL = """
import sys; from pathlib import Path
from bench.simulator_size import fill
fill(Path(sys.argv[1]), int(sys.argv[2]))
"""


def fill(file: Path, rows: int) -> None:
    """Phone calls like one that the Web API made, each with its entry in the log."""
    from simulator.crm import Call
    from simulator.service import Simulator
    from simulator.settings import Settings
    from simulator.store import Row

    core = Simulator(Settings(sqlite=file))
    organization = core.organization
    store, table = organization.store, core.table("phonecalls")
    (first,) = core.seed("phonecalls", [_call(0)])
    model = store.table("phonecall")[first]
    values, targets = model.values, model.targets
    call = Call(values["_createdby_value"])
    for start in range(1, rows, _AT_ONCE):
        with organization.atomic:
            for number in range(start, min(start + _AT_ONCE, rows)):
                record_id, version = organization.ids(), store.next_version()
                own = {"activityid": record_id, "versionnumber": version, **_call(number)}
                row = Row({**values, **{name: own[name] for name in own if name in values}}, targets, version)
                store.put("phonecall", record_id, row)
                organization.record(call, "create", (table.logical_name, record_id, ""), (None, row))
    core.close()


def _call(number: int) -> dict[str, str]:
    return {
        "subject": f"Call {number}",
        "description": "Disposition: no_answer. Attempt 2 of 5.",
        "phonenumber": "+15305550101",
        "medx_idempotencykey": f"session-{number:09d}",
        "regardingobjectid_account_phonecall@odata.bind": f"/accounts(66666666-aaaa-4bbb-8ccc-{number % 10 + 1:012d})",
    }


def _seed(crm: Served, start: int) -> None:
    import json

    body = json.dumps([_call(number) for number in range(start, start + _AT_ONCE)]).encode()
    request = urllib.request.Request(f"{crm.url}/_control/seed/phonecalls", body, method="POST")
    with urllib.request.urlopen(request, timeout=600) as answer:
        answer.read()


def _get(crm: Served, path: str) -> bytes:
    with urllib.request.urlopen(f"{crm.url}{path}".replace(" ", "%20"), timeout=600) as answer:
        content: bytes = answer.read()
        return content


def _page_share(crm: Served, creates: Callable[[], Iterator[bytes]]) -> float:
    """The share of a busy core that goes to somebody who looks at the page: page.js looks once a second.

    Directly, and not as the drop of the rate: where other work has the machine a second holds fewer requests, and as
    many looks.
    """
    _per_cpu_second(crm, creates(), REQUESTS)  # so that there is something to see
    _look(crm)
    before = crm.cpu()
    for _ in range(LOOKS):
        _look(crm)
    return (crm.cpu() - before) / LOOKS


def _look(crm: Served) -> None:
    """What page.js asks."""
    for path in (
        "counters",
        "rows/phonecall?limit=100",
        "oplog?newest=1&limit=100",
        "requests?newest=1&limit=100",
        "faults?history=0",
    ):
        _get(crm, f"/_control/{path}")


def _per_cpu_second(server: Served, requests: Iterator[bytes], count: int) -> float:
    """Answered requests per second of processor time of the server."""
    ready = list(islice(requests, count))
    before = server.cpu()
    asyncio.run(_send(server.url, ready))
    return count / (server.cpu() - before)


async def _send(url: str, requests: list[bytes]) -> None:
    host, port = url.removeprefix("http://").split(":")
    waiting = iter(requests)

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for request in waiting:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head[9:12].startswith(b"2"):
                raise RuntimeError(f"the server answered {head[9:12].decode()}")
            length = head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0]
            if length:
                await reader.readexactly(int(length))
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(connection())


def bare() -> int:
    """An application that reads its requests and says nothing, in a process of its own; prints its address."""
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=b"{}")

    async def serve() -> None:
        application = web.Application(client_max_size=2**25)
        application.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()

    asyncio.run(serve())
    return 0
