"""Ports of this machine: free ones, and whether something answers there."""

import contextlib
import itertools
import os
import random
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

_LOWEST = 10_000
_WORKERS = 16
"""Test workers beside each other that have ports of their own."""


def ports_of_servers(worker: str, range_of_clients: str) -> range:
    """Ports that one test worker may hand out. `range_of_clients`: the first and the last port that the system gives to
    outgoing connections. None of those: one of them could take a port between two starts of its server.
    """
    number = int((re.findall(r"\d+", worker) or ["0"])[-1]) % _WORKERS
    first_of_clients = int(range_of_clients.split()[0])
    room = range(_LOWEST, first_of_clients) if first_of_clients > 2 * _LOWEST else range(40_000, 65_000)
    share = len(room) // _WORKERS
    return room[number * share : (number + 1) * share]


def _handed_out() -> Iterator[int]:
    clients = Path("/proc/sys/net/ipv4/ip_local_port_range")
    ports = ports_of_servers(
        os.environ.get("PYTEST_XDIST_WORKER", ""), clients.read_text() if clients.exists() else "49152 65535"
    )
    start = random.randrange(len(ports))
    return itertools.cycle([*ports[start:], *ports[:start]])


_ports = _handed_out()


def _is_free(port: int) -> bool:
    with socket.socket() as one, contextlib.suppress(OSError):
        one.bind(("127.0.0.1", port))
        return True
    return False


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago. No other call of this process gives them, for some thousand
    ports, nor does another test worker.
    """
    return list(itertools.islice(filter(_is_free, _ports), count))


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False
