"""The real servers as containers, where a Docker engine answers. Removed by testcontainers' reaper if we are killed."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import trustme
from testcontainers.core.container import DockerContainer

from ops.demo.waiting import wait_until
from tests.support.brokers.config import Ports, broker_properties, container_environment
from tests.support.brokers.servers import (
    PASSWORD,
    POM,
    USER,
    SecureListener,
    create_user,
    facts_of,
    issue,
)
from tests.support.ports import answers, free_ports, listens

_START_SECONDS = 120


@contextlib.contextmanager
def kafka_in_docker(_work: Path) -> Iterator[dict[str, object]]:
    """Apache's image with the settings of the Maven broker, on the same port inside and outside."""
    authority = trustme.CA()
    ports = Ports(*free_ports(3))
    properties = broker_properties(
        ports, issue(authority), superuser=USER, data="/tmp/kraft-combined-logs", bind="0.0.0.0"
    )
    container = DockerContainer(f"apache/kafka:{version_of('kafka_2.13')}")
    for port in (ports.plain, ports.secure):
        container.with_bind_ports(port, port)
    for name, value in container_environment(properties).items():
        container.with_env(name, value)
    bootstrap = f"127.0.0.1:{ports.plain}"
    secure = SecureListener(f"localhost:{ports.secure}", authority.cert_pem.bytes().decode(), USER, PASSWORD)
    with container:
        wait_until(lambda: listens(ports.plain), what="Kafka listens", seconds=_START_SECONDS)
        create_user(bootstrap)
        yield facts_of(bootstrap, secure)


@contextlib.contextmanager
def registry_in_docker(_work: Path) -> Iterator[dict[str, object]]:
    """Apicurio Registry, in memory."""
    (port,) = free_ports(1)
    container = DockerContainer(f"apicurio/apicurio-registry:{version_of('apicurio-registry-app')}")
    url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    with container.with_bind_ports(8080, port):
        wait_until(lambda: answers(f"{url}/subjects"), what="the registry answers", seconds=_START_SECONDS)
        yield {"url": url}


def version_of(artifact: str) -> str:
    """The version in pom.xml, so that Maven and Docker run the same one."""
    found = re.search(rf"<artifactId>{re.escape(artifact)}</artifactId>\s*<version>([^<]+)</version>", POM.read_text())
    assert found, f"pom.xml names no version of {artifact}"
    return found[1]
