"""The whole system as real processes on this machine, as the demo runs it and as the chaos tests kill it.

Start order: simulator, planner and writer, call system. Stop order: the reverse, each with SIGTERM and a bound. Every
process writes its log to a file of its own in the work folder, and dies with this one.
"""

from __future__ import annotations

import json
import shlex
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from ops.demo.processes import Service, module
from planner.mapping import environment_mark


@dataclass(frozen=True)
class Broker:
    """Where the topics are. The embedded broker cannot say what its policies are, so they are not checked there."""

    bootstrap: str
    topic_prefix: str = ""
    check_policies: bool = True


class System:
    """Simulator, planner and writer on a broker with topics; a context manager. `folder` receives the logs."""

    def __init__(self, folder: Path, *, mapping_file: Path, broker: Broker) -> None:
        self._folder = folder
        self._mapping_file = mapping_file
        self._broker = broker
        self._stack = ExitStack()
        self.crm_mapping_file = folder / "mapping.json"
        """The mapping, made for the simulator at this address. `start_calls` writes it."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            address = self._folder / "simulator.url"
            arguments = ["--port", "0", "--port-file", str(address), "--auth", "none"]
            # Under limits the call system, which is one user, would be made to wait for minutes.
            serve = module("simulator", "serve", *arguments, "--no-limits")
            self.simulator = self._service(stack, "simulator", serve, {}).start(lambda _: address.exists())
            self.crm_url = address.read_text().strip()
            self.planner = self._service(stack, "planner", module("planner"), self._planner_env()).start()
            self.writer = self._service(stack, "writer", module("writer"), self._writer_env()).start()
            for service in (self.planner, self.writer):
                service.wait_for(partial(_is_ready, service), what="the service is ready", seconds=60)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start_calls(self, arguments: list[str], *, claims: bool = False) -> Service:
        """The call system; it publishes, and ends by itself when every call was made. `claims`: it takes queue items
        with `writeback claim`, a process each time; over the Web API otherwise."""
        command = module("simulator", "calls", "--bootstrap", self._broker.bootstrap, "--crm-url", self.crm_url)
        prefix = ["--topic-prefix", self._broker.topic_prefix] if self._broker.topic_prefix else []
        take = ["--take-with", shlex.join(module("ops.start"))] if claims else []
        env = self._claims_env() if claims else {}
        return self._service(self._stack, "calls", [*command, *prefix, *take, *arguments], env).start()

    def logs(self) -> list[Path]:
        return sorted(self._folder.glob("*.log"))

    def _service(self, stack: ExitStack, name: str, argv: list[str], env: dict[str, str]) -> Service:
        service = Service(argv, env=env, output=self._folder / f"{name}.log")
        stack.callback(_stop, service)
        return service

    def _planner_env(self) -> dict[str, str]:
        return {
            "PLANNER_MAPPING_FILE": str(self._mapping_file),
            "PLANNER_INSTANCE_ID": "planner-0",
            **self._shared_env("PLANNER"),
        }

    def _writer_env(self) -> dict[str, str]:
        return {
            "WRITER_DATAVERSE__URL": self.crm_url,
            "WRITER_IDENTITIES": json.dumps([{"kind": "none"}]),
            "WRITER_WRITE": "true",
            "WRITER_INSTANCE_ID": "writer-0",
            # A killed writer's partitions are handed out again after this; Kafka's default would be most of the demo.
            "WRITER_CONSUMER__SESSION_TIMEOUT_MS": "3000",
            "WRITER_CONSUMER__HEARTBEAT_INTERVAL_MS": "500",
            # Nor is a request of a killed writer under way for minutes.
            "WRITER_FLOW__LATE_REQUEST_S": "3",
            "WRITER_TRANSACTIONS": str(self._broker.check_policies).lower(),  # the embedded broker has none
            **self._shared_env("WRITER"),
        }

    def _claims_env(self) -> dict[str, str]:
        """Settings of `writeback claim`; the demo's contacts may be called at any time of the day."""
        mapping = json.loads(self._mapping_file.read_text(encoding="utf-8"))
        mapping["_meta"]["environment"] = environment_mark(self.crm_url)
        self.crm_mapping_file.write_text(json.dumps(mapping), encoding="utf-8")
        return {
            "WRITEBACK_MAPPING_FILE": str(self.crm_mapping_file),
            "WRITEBACK_DATAVERSE__URL": self.crm_url,
            "WRITEBACK_IDENTITIES": json.dumps([{"kind": "none"}]),
            "WRITEBACK_CALLING__WINDOW_START": "00:00",
            "WRITEBACK_CALLING__WINDOW_END": "23:59:59.999999",
        }

    def _shared_env(self, service: str) -> dict[str, str]:
        return {
            f"{service}_BROKER__BOOTSTRAP_SERVERS": self._broker.bootstrap,
            f"{service}_BROKER__TOPIC_PREFIX": self._broker.topic_prefix,
            f"{service}_BROKER__CHECK_TOPIC_POLICIES": str(self._broker.check_policies).lower(),
            f"{service}_ENDPOINT_HOST": "127.0.0.1",
            f"{service}_ENDPOINT_PORT": "0",
            f"{service}_LOG_FORMAT": "json",
        }


def _stop(service: Service) -> None:
    if service.is_running:
        service.stop()


def _is_ready(service: Service) -> bool:
    """Whether its newest life answers 200 on /ready; the port is in its log."""
    listening = service.events(event="endpoint.listening")
    if not listening:
        return False
    try:
        return httpx.get(f"http://127.0.0.1:{listening[-1]['port']}/ready", timeout=2).is_success
    except httpx.TransportError:
        return False
