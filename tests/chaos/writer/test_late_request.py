"""W2 A request is under way when its writer is killed, and the CRM carries it out after the next one was refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from ops.demo.processes import Service
from ops.demo.waiting import wait_until
from schemas.records import ResultStatus
from simulator.testing import RunningSimulator
from tests.integration.writer.kit import QUEUE_ITEMS, Desk, Topic, seed_item
from tests.support.checker import findings

Writers = Callable[..., Service]
NOT_PASSED_ON = {"connection", "content-encoding", "content-length", "host", "transfer-encoding"}


class Gateway:
    """Between a writer and the CRM. The first write gets no answer, and arrives when `let_go` is called."""

    def __init__(self, crm: str) -> None:
        self.held: httpx.Request | None = None
        self._ends = threading.Event()
        self._crm = httpx.Client(base_url=crm)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def let_go(self) -> None:
        assert self.held is not None
        assert self._crm.send(self.held).status_code == 200

    def close(self) -> None:
        self._ends.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._crm.close()

    def _handler(gateway) -> type[BaseHTTPRequestHandler]:  # noqa: N805  the handler has a self of its own
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED_ON}
                request = gateway._crm.build_request(self.command, self.path, headers=headers, content=body)
                if b"PATCH " in body and gateway.held is None:
                    gateway.held = request
                    gateway._ends.wait()
                    return
                reply = gateway._crm.send(request)
                self.send_response(reply.status_code)
                for name, value in reply.headers.items():
                    if name.lower() not in NOT_PASSED_ON:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.content)))
                self.end_headers()
                self.wfile.write(reply.content)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Nothing to standard error."""

        return Handler


@pytest.fixture
def gateway(simulator: RunningSimulator) -> Iterator[Gateway]:
    gateway = Gateway(simulator.base_url)
    yield gateway
    gateway.close()


def test_W2_a_request_that_lands_after_its_writer_was_killed_and_the_next_was_refused_is_no_conflict(
    simulator: RunningSimulator, desk: Desk, topic: Topic, writers: Writers, gateway: Gateway
) -> None:
    item = seed_item(simulator)
    plans = [desk.plan(item), desk.plan(item)]
    killed = writers(WRITER_DATAVERSE__URL=gateway.url, WRITER_DATAVERSE__READ_TIMEOUT_S="600").start()
    topic.publish(*plans)
    killed.wait_for(lambda: gateway.held is not None, what="a request is under way")
    killed.kill()

    here = {"path": r"\$batch", "body": f"PATCH .*{QUEUE_ITEMS}\\({item}"}
    refusal = simulator.fault(when=here, times=None, do=[{"kind": "status", "status": 400, "code": "0x80048d19"}])
    writer = writers(WRITER_FLOW__LATE_REQUEST_S="20").start()
    wait_until(lambda: writer.has_written("plan.waits_for_earlier_requests"), what="the refused plan waits")
    simulator.call(lambda core: core.rules.remove(refusal))
    gateway.let_go()

    topic.wait_for_committed(len(plans))
    assert {result.status for result in topic.results()} == {ResultStatus.COMPLETED}
    assert findings(simulator.oplog(), plans, topic.results()) == []
