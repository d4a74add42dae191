"""One small HTTP endpoint per process: `/metrics` (Prometheus), `/live` and `/ready` (JSON, 200 or 503)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app


@dataclass(frozen=True)
class Verdict:
    """`ok` decides the status; `checks` says for a person what holds and what is waited for."""

    ok: bool
    checks: Mapping[str, Any] = field(default_factory=dict)


Probe = Callable[[], Verdict]


class Endpoint:
    """Serves from a daemon thread of its own, so that a busy event loop cannot make a healthy process look dead."""

    def __init__(self, *, host: str, port: int, registry: CollectorRegistry, live: Probe, ready: Probe) -> None:
        metrics = make_wsgi_app(registry)
        probes = {"/live": live, "/ready": ready}

        def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            path = environ["PATH_INFO"]
            if path == "/metrics":
                return cast("Iterable[bytes]", metrics(environ, start_response))
            if path not in probes:
                start_response("404 Not Found", [("Content-Type", "application/json")])
                return [b'{"paths": ["/metrics", "/live", "/ready"]}']
            verdict = probes[path]()
            start_response(
                "200 OK" if verdict.ok else "503 Service Unavailable", [("Content-Type", "application/json")]
            )
            return [json.dumps({"ok": verdict.ok, **verdict.checks}).encode()]

        self._server = make_server(host, port, answer, server_class=_Server, handler_class=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, name="endpoint", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(WSGIServer):
    daemon_threads = True
    request_queue_size = 32


class _Quiet(WSGIRequestHandler):
    timeout = 5  # seconds; a client that connects and says nothing must not hold the endpoint

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's own name
        """Probes come every few seconds; logging them would bury everything else."""
