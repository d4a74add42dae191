"""An intermediary's words are not the registry's: something else takes its place while a planner runs."""

import json
import sys
import threading
import urllib.error
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ops.demo.waiting import wait_until
from schemas.codec import Codec, known_schemas
from schemas.records import CallOutcome
from schemas.wire import SchemaId
from tests.integration.planner.harness import lost, outcomes, planner_env, publish, ready, rejected
from tests.integration.planner.test_planner_process import ask

PLANNER = [sys.executable, "-m", "planner"]
ELSEWHERE = {
    "an ingress": (404, b"<html>default backend - 404</html>"),
    "a login page": (200, b"<html>Sign in</html>"),
    "an empty registry": (404, b'{"error_code": 40403, "message": "Schema not found"}'),
}


class SwitchableRegistry(ThreadingHTTPServer):
    """Gives ids 1 and 2 to our schemas and 7 to a call system's, until something else stands at its address."""

    def __init__(self) -> None:
        self.instead: tuple[int, bytes] | None = None
        self.asked_instead = 0
        super().__init__(("127.0.0.1", 0), _Answers)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str) -> tuple[int, bytes]:
        if self.instead:
            self.asked_instead += 1
            return self.instead
        if path.startswith("/subjects/"):
            return 200, json.dumps({"id": 1 if "outcomes" in path else 2}).encode()
        return 200, json.dumps({"schema": known_schemas("call_outcome").text}).encode()


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        assert isinstance(self.server, SwitchableRegistry)
        status, content = self.server.answer(self.path)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def registry():
    with SwitchableRegistry() as server:
        yield server
        server.shutdown()


def is_ready(planner) -> bool:
    try:
        return json.loads(ask(planner, "/ready"))["ok"]
    except urllib.error.HTTPError:
        return False


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_P6_what_is_not_the_registrys_word_rejects_nothing_and_is_waited_for_and_told(
    embedded_kafka, make_service, registry, kind
):
    bootstrap, given = embedded_kafka.bootstrap, outcomes(10)
    env = planner_env(bootstrap, PLANNER_REGISTRY__URL=registry.url)
    planner = make_service("planner", PLANNER, env=env).start(ready)
    registry.instead = ELSEWHERE[kind]
    theirs = Codec(CallOutcome, SchemaId(7), lambda _id: {})
    publish(bootstrap, given, codec=theirs)
    planner.wait_for(lambda: registry.asked_instead > 2, what="it asks again")
    assert 'planner_waiting{cause="registry"} 1.0' in ask(planner, "/metrics")
    assert not is_ready(planner)
    registry.instead = None
    wait_until(lambda: not lost(bootstrap, given), what="all are planned")
    assert rejected(bootstrap) == []
    wait_until(lambda: is_ready(planner), what="it is ready again")
    assert [each["cause"] for each in planner.events(event="planner.waiting")] == ["registry"], "said once"
    assert planner.stop() == 0


def test_P5_a_planner_stops_in_time_while_the_registry_does_not_answer(embedded_kafka, make_service, registry):
    bootstrap, given = embedded_kafka.bootstrap, outcomes(10)
    env = planner_env(bootstrap, PLANNER_REGISTRY__URL=registry.url)
    planner = make_service("planner", PLANNER, env=env).start(ready)
    registry.instead = ELSEWHERE["an ingress"]
    publish(bootstrap, given, codec=Codec(CallOutcome, SchemaId(7), lambda _id: {}))
    planner.wait_for(lambda: bool(planner.events(event="planner.waiting")), what="it waits")
    assert planner.stop() == 0
    registry.instead = None
    planner.start(ready)
    wait_until(lambda: not lost(bootstrap, given), what="all are planned")
    assert rejected(bootstrap) == []
