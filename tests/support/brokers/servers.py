"""The real servers as processes on this machine, from Maven: Apache Kafka and Apicurio Registry."""

import contextlib
import hashlib
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import trustme
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization
from filelock import FileLock

from ops.demo.lifetime import tied
from ops.demo.waiting import HANGS_AFTER_S, wait_until
from tests.support.brokers.config import SCRAM, Identity, Ports, broker_properties, properties_text
from tests.support.ports import answers, free_ports, listens

CACHE = Path(__file__).parents[3] / ".cache"
POM = Path(__file__).with_name("pom.xml")
_GOALS = {"kafka": "dependency:copy-dependencies", "registry": "dependency:unpack"}
_LEAN_JAVA = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]

USER, PASSWORD = "writeback", "correct-horse-battery-staple"


class ServerFailedError(Exception):
    """A server did not start; the text holds the end of its log."""


@dataclass(frozen=True)
class SecureListener:
    """How to reach the listener with TLS and SCRAM-SHA-512."""

    bootstrap: str
    ca_pem: str
    username: str
    password: str

    def client_config(self) -> dict[str, str]:
        """For a confluent-kafka client."""
        return {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": SCRAM,
            "sasl.username": self.username,
            "sasl.password": self.password,
            "ssl.ca.pem": self.ca_pem,
        }


def downloaded(profile: str) -> Path:
    """The folder with what that profile of pom.xml asks for; downloaded once per version of pom.xml."""
    folder = CACHE / f"{profile}-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
    complete = folder / "complete"
    CACHE.mkdir(exist_ok=True)
    with FileLock(CACHE / f"{profile}.lock"):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            run_to_end(
                ["mvn", "-q", "-B", "-f", str(POM), "-P", profile, _GOALS[profile], f"-DoutputDirectory={folder}"]
            )
            complete.touch()
    return folder


def run_to_end(command: Sequence[str]) -> None:
    """Raises ServerFailedError with the end of the output if `command` fails."""
    run = subprocess.run(tied(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if run.returncode:
        raise ServerFailedError(f"{command[0]} ended with {run.returncode}: {run.stdout[-2000:]}")


class JavaServer:
    """A Java process with a log file, that can be killed and started again with the same command."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, ready: Callable[[], bool]) -> None:
        """Returns when `ready`; ServerFailedError if the process ends before, or not within three minutes."""
        with self._log.open("ab") as log:
            self._process = process = subprocess.Popen(
                tied(self._command), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

        def ready_or_ended() -> bool:
            return process.poll() is not None or ready()

        try:
            wait_until(ready_or_ended, what="the server is ready", seconds=HANGS_AFTER_S)
        except AssertionError as error:
            self.kill()
            raise ServerFailedError(f"{error}; its log ends: {self._log_end()}") from error
        if process.poll() is not None:
            raise ServerFailedError(f"the server ended with {process.returncode}; its log ends: {self._log_end()}")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(number)

    @property
    def has_ended(self) -> bool:
        """By itself."""
        return self._process is not None and self._process.poll() is not None

    def _log_end(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


class Kafka:
    """Apache Kafka, one node, in `work` (an empty folder). `start` and `kill` may alternate; the records stay.

    `behind`: the port of a proxy before the secure listener, which clients are told instead of the listener's own.
    `listeners`: more of them, by name: protocol and port. `fronts`: likewise, the port of a proxy before it.
    `java`: options of the virtual machine. `inside`: the command that runs another one, for a disk of its own.
    """

    def __init__(
        self,
        work: Path,
        *,
        behind: int | None = None,
        more: Mapping[str, str] | None = None,
        authority: trustme.CA | None = None,
        listeners: Mapping[str, tuple[str, int]] | None = None,
        fronts: Mapping[str, int] | None = None,
        java: Sequence[str] = (),
        inside: Callable[[Sequence[str]], Sequence[str]] = list,
    ) -> None:
        libraries = downloaded("kafka")
        authority = authority or trustme.CA()
        self._ports = Ports(*free_ports(3))
        self.bootstrap = f"127.0.0.1:{self._ports.plain}"
        self.secure_port = self._ports.secure
        self.secure = SecureListener(
            f"localhost:{behind or self._ports.secure}", authority.cert_pem.bytes().decode(), USER, PASSWORD
        )
        settings = work / "server.properties"
        properties = broker_properties(self._ports, issue(authority), superuser=USER, data=str(work / "data"))
        if behind:
            told = properties["advertised.listeners"]
            properties["advertised.listeners"] = told.replace(f":{self._ports.secure}", f":{behind}")
        for name, (protocol, port) in (listeners or {}).items():
            properties["listeners"] += f",{name}://127.0.0.1:{port}"
            properties["advertised.listeners"] += f",{name}://localhost:{(fronts or {}).get(name, port)}"
            properties["listener.security.protocol.map"] += f",{name}:{protocol}"
        settings.write_text(properties_text({**properties, **(more or {})}))
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        java = [*_LEAN_JAVA, "-Xmx512m", quiet, *java, "-cp", f"{libraries}/*"]
        # An id that starts with "-" would be taken for an option.
        cluster_id = f"T{secrets.token_urlsafe(16)[:21]}"
        run_to_end(inside([*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(settings)]))
        self._server = JavaServer(inside([*java, "kafka.Kafka", str(settings)]), work / "kafka.log")

    def start(self) -> None:
        self._server.start(lambda: listens(self._ports.plain))
        create_user(self.bootstrap)

    def kill(self) -> None:
        self._server.kill()

    @property
    def has_ended(self) -> bool:
        """By itself: a broker that cannot write to any of its log directories does."""
        return self._server.has_ended

    def freeze(self) -> None:
        """SIGSTOP: connections are taken, and nothing is answered, until `thaw`."""
        self._server.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._server.signal(signal.SIGCONT)


@contextlib.contextmanager
def kafka_from_maven(work: Path) -> Iterator[dict[str, object]]:
    """A running Kafka as facts for JSON: see `facts_of`."""
    kafka = _first_that_starts(work)
    try:
        yield facts_of(kafka.bootstrap, kafka.secure)
    finally:
        kafka.kill()


def facts_of(bootstrap: str, secure: SecureListener | None) -> dict[str, object]:
    return {"bootstrap": bootstrap, "secure": vars(secure) if secure else None}


@contextlib.contextmanager
def registry_from_maven(work: Path) -> Iterator[dict[str, object]]:
    """A running Apicurio Registry, in memory: `{"url": ...}` of its Confluent API."""
    folder = downloaded("registry")
    (port,) = free_ports(1)
    jar = next(folder.glob("apicurio-registry-app-*-runner.jar"))
    options = ["-Xmx192m", "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={port}"]
    server = JavaServer([*_LEAN_JAVA, *options, "-jar", str(jar)], work / "registry.log")
    url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    try:
        server.start(lambda: answers(f"{url}/subjects"))
        yield {"url": url}
    finally:
        server.kill()


def issue(
    authority: trustme.CA, *names: str, common_name: str | None = None, not_after: datetime | None = None
) -> Identity:
    """A certificate, for localhost if no names are given, with its key as Kafka reads it (PKCS#8)."""
    certificate = authority.issue_cert(
        *(names or ("localhost", "127.0.0.1")),
        common_name=common_name,
        not_before=not_after and not_after - timedelta(days=1),
        not_after=not_after,
        key_type=trustme.KeyType.RSA,
    )
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
    pkcs8 = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity("".join(part.bytes().decode() for part in certificate.cert_chain_pems), pkcs8.decode())


def create_user(bootstrap: str) -> None:
    """The SCRAM user of the secure listener; waits until the broker serves requests."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    wish = UserScramCredentialUpsertion(USER, credential, PASSWORD.encode())
    admin.alter_user_scram_credentials([wish], request_timeout=HANGS_AFTER_S)[USER].result()


def _first_that_starts(work: Path, attempts: int = 3) -> Kafka:
    """Another process may take a port between the choice and the start; then choose again."""
    folder = work / f"attempt-{attempts}"
    folder.mkdir(parents=True)
    kafka = Kafka(folder)
    try:
        kafka.start()
    except ServerFailedError:
        if attempts == 1:
            raise
        return _first_that_starts(work, attempts - 1)
    return kafka
