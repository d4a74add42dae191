"""One small HTTP endpoint per process: `/metrics` (Prometheus), `/live` and `/ready` (JSON, 200 or 503).

It must answer when little else works. Every client gets its own thread, and `WITHIN_S` seconds from its first byte to
our last. With more than `CLIENTS` at once, the oldest connection is closed. So slow clients delay no other client, and
cost a bounded number of threads. A client that disconnects early is not logged; any other failure is one log line.
"""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from runtime.errors import Misconfigured

CLIENTS = 64
WITHIN_S = 5.0


@dataclass(frozen=True)
class Verdict:
    """`ok` decides the status. `checks` tells a person what is in order and what the service waits for."""

    ok: bool
    checks: Mapping[str, Any] = field(default_factory=dict)


Probe = Callable[[], Verdict]


class Endpoint:
    """Serves from its own daemon threads, so that a healthy process with a busy event loop still answers."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        registry: CollectorRegistry,
        live: Probe,
        ready: Probe,
        within_s: float = WITHIN_S,
        clients: int = CLIENTS,
    ) -> None:
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

        try:
            self._server = make_server(host, port, _logged_once(answer), server_class=_Server, handler_class=_Handler)
        except OSError as error:
            what = f"metrics and health cannot listen on {host} port {port}: {error.strerror or error}"
            remedy = "set ENDPOINT_PORT to a free port (0 takes any), and ENDPOINT_HOST to an address of this machine"
            raise Misconfigured([f"{what}; {remedy}"]) from None
        self._server.within_s = within_s
        self._server.clients = clients
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


def _logged_once(answer: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """A failing probe or collector answers 500 and logs one line; wsgiref would write to stderr."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return answer(environ, start_response)
        except Exception as error:  # noqa: BLE001  the endpoint goes on after any failure
            structlog.get_logger("endpoint").error(
                "endpoint.failed", path=environ.get("PATH_INFO"), error=type(error).__name__
            )
            start_response("500 Internal Server Error", [("Content-Type", "application/json")], sys.exc_info())
            return [b'{"ok": false}']

    return guarded


def hang_up(client: socket.socket) -> None:
    """Closes the connection; the client's thread notices and ends."""
    with suppress(OSError):  # it has gone already
        client.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32
    within_s = WITHIN_S
    clients = CLIENTS

    def __init__(self, *arguments: Any) -> None:
        self._connected: dict[Any, None] = {}
        """Oldest first."""
        self._lock = threading.Lock()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._connected) >= self.clients:
                hang_up(next(iter(self._connected)))
            self._connected[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connected.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  the base class's signature
        """Logs the failure instead of printing it. A client that disconnected or was too slow is not logged."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            structlog.get_logger("endpoint").error("endpoint.failed", error=type(error).__name__)


class _Handler(WSGIRequestHandler):
    """Closes the connection when its time is over. A limit per read would let a slow client go on without end."""

    server: _Server

    def setup(self) -> None:
        self._timer = threading.Timer(self.server.within_s, hang_up, [self.request])
        self._timer.daemon = True
        super().setup()
        self._timer.start()

    def finish(self) -> None:
        self._timer.cancel()
        super().finish()

    def get_stderr(self) -> Any:
        """What wsgiref prints about a client that disconnected goes nowhere."""
        return io.StringIO()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's own name
        """Probes come every few seconds; logging them would bury everything else."""
