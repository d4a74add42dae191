"""The simulator as a process of its own for a measurement: seeded, watched through its control endpoint, then gone."""

from __future__ import annotations

import contextlib
import json
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.demo.processes import Service, module


@dataclass(frozen=True)
class Crm:
    """A running simulator. Times are seconds since 1970, by the same clock as ours."""

    base_url: str

    def counters(self) -> dict[str, Any]:
        counted: dict[str, Any] = self._call("GET", "counters")
        return counted

    def landed(self) -> int:
        """How many sessions have landed, as every one of ours leaves a phone call."""
        return int(self.counters()["rows"]["phonecall"])

    def requests(self) -> int:
        return int(self.counters()["requests"])

    def limits(self) -> dict[str, Any]:
        """Use of the limits by the identity that used them most."""
        used: list[dict[str, Any]] = self.counters()["limits"]
        return max(used, key=lambda one: int(one["admitted"]))

    def seed(self, entity_set: str, bodies: list[dict[str, Any]]) -> None:
        self._call("POST", f"seed/{entity_set}", bodies)

    def rows(self, entity_set: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._call("GET", f"rows/{entity_set}")["rows"]
        return rows

    def log(self, **where: str | int) -> list[dict[str, Any]]:
        """Every entry of the operation log that fits."""
        query = "&".join(f"{name}={value}" for name, value in where.items())
        entries: list[dict[str, Any]] = self._call("GET", f"oplog?limit=1000000&{query}")["entries"]
        return entries

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        raw = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.base_url}/_control/{path}", raw, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@contextlib.contextmanager
def simulated(*options: str, latency: float = 0.05) -> Iterator[Crm]:
    """A simulator that trusts everybody, with this latency per request."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        command = ["serve", "--port", "0", "--port-file", str(port_file), "--auth", "none", "--latency", str(latency)]
        service = Service(module("simulator", *command, *options), env={}, output=Path(folder) / "simulator.log")
        service.start(lambda _: port_file.exists())
        try:
            yield Crm(port_file.read_text(encoding="utf-8").strip())
        finally:
            service.kill()
