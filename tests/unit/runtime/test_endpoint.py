"""The endpoint answers beside slow, silent and rude clients, and says what goes wrong in the log only."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter
from structlog.testing import capture_logs

from runtime.endpoint import Endpoint, Verdict
from runtime.errors import Misconfigured


def failing() -> Verdict:
    raise RuntimeError("hunter2")


def serving(within_s: float) -> Iterator[Endpoint]:
    registry = CollectorRegistry()
    Counter("things", "Things.", registry=registry)
    served = Endpoint(
        host="127.0.0.1", port=0, registry=registry, live=lambda: Verdict(ok=True), ready=failing,
        within_s=within_s, clients=8,
    )  # fmt: skip
    served.start()
    yield served
    served.stop()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    yield from serving(1.0)


@pytest.fixture
def patient() -> Iterator[Endpoint]:
    """Gives each client more time than any test has."""
    yield from serving(3600.0)


def get(endpoint: Endpoint, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


Connect = Callable[[], socket.socket]


@pytest.fixture
def connect(endpoint: Endpoint) -> Iterator[Connect]:
    with contextlib.ExitStack() as closing:
        yield lambda: closing.enter_context(socket.create_connection(("127.0.0.1", endpoint.port), timeout=60))


def test_silent_clients_hold_up_nobody(patient: Endpoint) -> None:
    with contextlib.ExitStack() as closing:
        for _ in range(4):
            closing.enter_context(socket.create_connection(("127.0.0.1", patient.port)))
        assert get(patient, "/live")[0] == 200


def test_silent_clients_are_sent_away_when_their_time_is_over(endpoint: Endpoint, connect: Connect) -> None:
    silent = [connect() for _ in range(4)]
    assert get(endpoint, "/live")[0] == 200
    assert "things_total" in get(endpoint, "/metrics")[1]
    assert all(_is_closed(one) for one in silent)


def test_a_request_that_trickles_in_ends_when_its_time_is_over(endpoint: Endpoint, connect: Connect) -> None:
    slow, ended = connect(), threading.Event()

    def trickle() -> None:
        try:
            while not ended.wait(0.05):
                slow.sendall(b"G")
        except OSError:
            ended.set()

    sending = threading.Thread(target=trickle)
    sending.start()
    assert get(endpoint, "/live")[0] == 200
    assert _is_closed(slow)
    ended.set()
    sending.join()


def test_B3_of_more_clients_than_there_are_places_the_oldest_have_to_go(endpoint: Endpoint, connect: Connect) -> None:
    silent = [connect() for _ in range(30)]
    assert get(endpoint, "/live")[0] == 200
    assert all(_is_closed(one) for one in silent)
    assert get(endpoint, "/live")[0] == 200


def _is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_what_goes_wrong_is_a_line_of_the_log_and_no_traceback_past_it(
    endpoint: Endpoint, connect: Connect, capfd: pytest.CaptureFixture[str]
) -> None:
    with capture_logs() as lines:
        assert get(endpoint, "/ready") == (500, '{"ok": false}')
        rude = connect()
        rude.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        rude.close()
        half = connect()
        half.sendall(b"\x00\x01\x02 not http at all\r\n\r\n")
        half.close()
        assert get(endpoint, "/live")[0] == 200
    assert [(line["event"], line["error"]) for line in lines] == [("endpoint.failed", "RuntimeError")]
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err
    assert "hunter2" not in said.out + said.err


def test_a_client_that_no_thread_is_left_for_is_a_line_of_the_log_and_the_next_is_served(
    endpoint: Endpoint, connect: Connect, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def start(_timer: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    with capture_logs() as lines:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Timer, "start", start)
            assert _is_closed(connect())
        assert get(endpoint, "/live")[0] == 200
    assert [(line["event"], line["error"]) for line in lines] == [("endpoint.failed", "RuntimeError")]
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err


def test_a_port_that_is_taken_is_a_setting_to_correct(endpoint: Endpoint) -> None:
    with pytest.raises(Misconfigured, match=f"cannot listen on 127.0.0.1 port {endpoint.port}: .*set ENDPOINT_PORT"):
        Endpoint(
            host="127.0.0.1", port=endpoint.port, registry=CollectorRegistry(), live=lambda: Verdict(ok=True),
            ready=failing,
        )  # fmt: skip
