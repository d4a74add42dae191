"""Ports of servers that tests start, and start again, are never those of outgoing connections."""

from __future__ import annotations

import pytest

from tests.support.ports import free_ports, ports_of_servers


@pytest.mark.parametrize("clients", ["32768 60999", "49152 65535"])
def test_no_outgoing_connection_takes_the_port_of_a_server_that_is_started_again(clients: str) -> None:
    first_of_clients = int(clients.split()[0])
    for worker in ("", "gw0", "gw15"):
        ports = ports_of_servers(worker, clients)
        assert len(ports) > 1_000
        assert 1_024 < ports[0] < ports[-1] < first_of_clients


def test_a_system_that_gives_all_ports_to_outgoing_connections_has_ports_for_servers_all_the_same() -> None:
    assert len(ports_of_servers("", "1024 65535")) > 1_000


def test_test_workers_beside_each_other_share_no_port() -> None:
    of_workers = [set(ports_of_servers(f"gw{number}", "32768 60999")) for number in range(16)]
    assert sum(map(len, of_workers)) == len(set.union(*of_workers))


def test_no_port_is_handed_out_twice() -> None:
    given = [port for _ in range(40) for port in free_ports(5)]
    assert len(set(given)) == len(given)
