"""A Kafka whose clients come over two lines that can be cut, one without the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.soak.proxy import Proxy
from tests.support.brokers.kafka import RealKafka
from tests.support.brokers.servers import Kafka, ServerFailedError
from tests.support.ports import free_ports

_NAMES = ("EAST", "WEST")
_ATTEMPTS = 3
_BROKER = {"group.consumer.session.timeout.ms": "3000"}


@dataclass(frozen=True)
class Lined:
    """`lines` by the address that a client is given."""

    kafka: RealKafka
    lines: Mapping[str, Proxy]


@contextmanager
def lined_kafka(work: Path) -> Iterator[Lined]:
    """A broker of its own. The test itself reaches it past the lines, at the usual address."""
    kafka, fronts, ports = _started(work)
    proxies: dict[str, Proxy] = {}
    try:
        for name in _NAMES:
            proxies[f"localhost:{fronts[name]}"] = Proxy(fronts[name], ports[name])
        yield Lined(RealKafka(kafka.bootstrap, None, "maven"), proxies)
    finally:
        for proxy in proxies.values():
            proxy.close()
        kafka.kill()


def _started(work: Path) -> tuple[Kafka, dict[str, int], dict[str, int]]:
    """Another process may take a port between the choice and the start; then choose again."""
    for attempt in range(1, _ATTEMPTS + 1):
        (folder := work / f"kafka-{attempt}").mkdir(parents=True)
        east, west, *told = free_ports(4)
        ports, fronts = dict(zip(_NAMES, (east, west), strict=True)), dict(zip(_NAMES, told, strict=True))
        listeners = {name: ("PLAINTEXT", port) for name, port in ports.items()}
        kafka = Kafka(folder, more=_BROKER, listeners=listeners, fronts=fronts)
        try:
            kafka.start()
        except ServerFailedError:
            if attempt == _ATTEMPTS:
                raise
        else:
            return kafka, fronts, ports
    raise AssertionError("unreachable")
