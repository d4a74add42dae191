"""A simulator inside a test: in the test's own event loop, or on a thread of its own for tests without one.

with running_simulator(auth="none") as simulator:
    httpx.get(f"{simulator.api_url}/WhoAmI")
    simulator.call(lambda core: core.rows("phonecalls"))
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from simulator import tenant
from simulator.faults.rules import Rule
from simulator.oplog import Where
from simulator.server.host import Endpoints, serving
from simulator.service import Simulator
from simulator.settings import Settings

__all__ = ["RunningSimulator", "running_simulator", "serving"]
_Result = TypeVar("_Result")
_START_SECONDS = 20


class RunningSimulator:
    """A simulator on its own thread. Attributes say where it is; methods act inside its thread and wait."""

    token = tenant.STATIC_TOKEN

    def __init__(self, endpoints: Endpoints, loop: asyncio.AbstractEventLoop) -> None:
        self.endpoints = endpoints
        self.base_url = endpoints.base_url
        self.api_url = endpoints.api_url
        self.control_url = endpoints.control_url
        self.authority = endpoints.authority
        self.ca_file = endpoints.ca_file
        self._loop = loop

    def call(self, action: Callable[[Simulator], _Result]) -> _Result:
        """Run something on the simulator, between two requests."""

        async def run() -> _Result:
            return action(self.endpoints.simulator)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_START_SECONDS)

    def rows(self, entity_set: str) -> list[dict[str, Any]]:
        return self.call(lambda simulator: simulator.rows(entity_set))

    def oplog(self, **where: Any) -> list[dict[str, Any]]:
        """Log entries; the arguments are those of `oplog.Where`."""
        return self.call(
            lambda simulator: [entry.to_dict() for entry in simulator.organization.log.find(Where(**where))]
        )

    def fault(self, **rule: Any) -> str:
        """Arm a fault; the arguments are those of `faults.Rule`. Returns its id."""
        return self.call(lambda simulator: simulator.rules.add(Rule.model_validate(rule)))

    def seed(self, entity_set: str, *rows: dict[str, Any]) -> list[str]:
        return self.call(lambda simulator: simulator.seed(entity_set, list(rows)))

    def edit(self, entity_set: str, record_id: str, values: dict[str, Any] | None) -> None:
        """A person edits (or, with None, deletes) a row."""
        self.call(lambda simulator: simulator.edit(entity_set, record_id, values))


@contextmanager
def running_simulator(**settings: Any) -> Iterator[RunningSimulator]:
    """A simulator on a free port for the length of the block. The arguments are those of `Settings`."""
    chosen = Settings(**settings)
    loop = asyncio.new_event_loop()
    ready: threading.Event = threading.Event()
    found: list[Endpoints] = []
    failed: list[Exception] = []
    stop = asyncio.Event()

    async def serve() -> None:
        try:
            async with serving(chosen) as endpoints:
                found.append(endpoints)
                ready.set()
                await stop.wait()
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits for the start
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="simulator", daemon=True)
    thread.start()
    try:
        if not ready.wait(_START_SECONDS) or failed:
            raise RuntimeError("the simulator did not start") from (failed[0] if failed else None)
        yield RunningSimulator(found[0], loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(_START_SECONDS)
        loop.close()
