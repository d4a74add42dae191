"""One small HTTP endpoint per process: `/metrics` (Prometheus), `/live` and `/ready` (JSON, 200 or 503).

It must answer when little else works, no matter who connects. Every client has a thread of its own and `WITHIN_S`
seconds from its first byte to our last, however steadily it trickles; of more than `CLIENTS` at once, the oldest has to
go. So silent and slow clients hold up nobody, and cost a bounded number of threads. A client that goes away in the
middle is no error; anything else that goes wrong is one line of the log, never a traceback past it.
"""

from __future__ import annotations

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

CLIENTS = 64
WITHIN_S = 5.0


@dataclass(frozen=True)
class Verdict:
    """`ok` decides the status; `checks` says for a person what holds and what is waited for."""

    ok: bool
    checks: Mapping[str, Any] = field(default_factory=dict)


Probe = Callable[[], Verdict]


class Endpoint:
    """Serves from daemon threads of its own, so that a busy event loop cannot make a healthy process look dead."""

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

        self._server = make_server(host, port, _told_once(answer), server_class=_Server, handler_class=_Handler)
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


def _told_once(answer: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """A probe or a collector that fails answers 500 and is one line of the log; wsgiref would write to stderr."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return answer(environ, start_response)
        except Exception as error:  # noqa: BLE001  whatever it is, the endpoint goes on
            structlog.get_logger("endpoint").error(
                "endpoint.failed", path=environ.get("PATH_INFO"), error=type(error).__name__
            )
            start_response("500 Internal Server Error", [("Content-Type", "application/json")], sys.exc_info())
            return [b'{"ok": false}']

    return guarded


def hang_up(client: socket.socket) -> None:
    """Its thread then finds the connection closed, and ends."""
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
        """Not on stderr, past the log. A client that went away, or was too slow, is worth no line at all."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            structlog.get_logger("endpoint").error("endpoint.failed", error=type(error).__name__)


class _Handler(WSGIRequestHandler):
    """Ends its client when its time is over: a time limit per read would let a trickle go on without end."""

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
        return _Nowhere()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's own name
        """Probes come every few seconds; logging them would bury everything else."""


class _Nowhere:
    """What wsgiref would print of a client that went away."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """There is nothing to flush."""
