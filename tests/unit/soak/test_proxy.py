"""The line that the long run cuts: passes on, keeps silent, refuses, and passes on again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from ops.demo.waiting import HANGS_AFTER_S, wait_until
from tests.soak.proxy import Proxy
from tests.support.ports import free_ports


@pytest.fixture
def line() -> Iterator[tuple[Proxy, int]]:
    """A proxy before a server that says everything back."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=say_back, args=(client,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    (port,) = free_ports(1)
    proxy = Proxy(port, server.getsockname()[1])
    try:
        yield proxy, port
    finally:
        proxy.close()
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def say_back(client: socket.socket) -> None:
    with client:
        while piece := client.recv(100):
            client.sendall(piece)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=HANGS_AFTER_S)


def ended(client: socket.socket) -> bool:
    try:
        return client.recv(100) == b""
    except ConnectionResetError:
        return True


def test_in_silence_nothing_arrives_until_the_line_is_open_again(line: tuple[Proxy, int]) -> None:
    proxy, port = line
    with connect(port) as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"
        proxy.silence()
        client.sendall(b"two")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(100)
        client.settimeout(HANGS_AFTER_S)
        proxy.open()
        assert client.recv(100) == b"two"


def test_a_refusing_line_closes_what_was_open_and_takes_nothing_new(line: tuple[Proxy, int]) -> None:
    proxy, port = line
    with connect(port) as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"
        proxy.refuse()
        assert ended(client)

    def refused() -> bool:
        try:
            connect(port).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(refused, what="connections are refused")
    proxy.open()
    with connect(port) as client:
        client.sendall(b"again")
        assert client.recv(100) == b"again"
