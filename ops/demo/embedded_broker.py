"""A Kafka cluster without Java or Docker: librdkafka's own, from inside the confluent-kafka wheel.

librdkafka carries a mock cluster for its own tests. Its C functions are exported by the library that every
confluent-kafka client loads anyway; here they are called through ctypes. The brokers listen on free ports of
127.0.0.1, and any client of any process may join them: confluent-kafka, aiokafka, Faust.

Its limits; use it for a demo or a test only:

- Nothing is on disk. The records are lost when the broker is closed.
- A partition keeps at most 5 MiB and 100,000 produced batches, both compiled in; the oldest batches go silently.
  Batches count as they were sent, so compression in the producer stretches the limit. More partitions do too.
  `dropped` says whether it happened.
- It creates every topic that a client names, with 4 partitions, unless the client forbids it
  (`allow.auto.create.topics=false`). Create the real topics first.
- No compaction, no topic settings (DescribeConfigs and CreateTopics end in `_UNSUPPORTED_FEATURE`), no offsets
  by time, no TLS or sign-in.
"""

import argparse
import ctypes
import enum
import functools
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import confluent_kafka
from confluent_kafka import cimpl

from ops.core.counting import number_of

ALL_BROKERS = -1

_REMEDY = (
    "install the confluent-kafka wheel that the lock file names: "
    "pip install --no-deps --force-reinstall --only-binary :all: --require-hashes -r requirements/demo.txt"
)


class EmbeddedBrokerError(Exception):
    """The embedded broker cannot do what was asked. The text names cause and remedy."""


class ApiKey(enum.IntEnum):
    """Kinds of request that errors and delays can be injected into (the protocol's numbers)."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22
    CONSUMER_GROUP_HEARTBEAT = 68


class Fault(enum.IntEnum):
    """Answers that can be injected (the protocol's error codes), worst first."""

    DISCONNECT = -195  # no answer: the broker closes the connection
    UNKNOWN = -1  # the broker failed in its own code
    NONE = 0  # lets one request through; for "the second one fails"
    MESSAGE_TOO_LARGE = 10
    COORDINATOR_LOAD_IN_PROGRESS = 14
    COORDINATOR_NOT_AVAILABLE = 15
    NOT_COORDINATOR = 16
    LEADER_NOT_AVAILABLE = 5
    NOT_LEADER_OR_FOLLOWER = 6
    REQUEST_TIMED_OUT = 7
    NOT_ENOUGH_REPLICAS = 19
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
    ILLEGAL_GENERATION = 22
    UNKNOWN_MEMBER_ID = 25
    REBALANCE_IN_PROGRESS = 27
    TOPIC_AUTHORIZATION_FAILED = 29
    GROUP_AUTHORIZATION_FAILED = 30
    CLUSTER_AUTHORIZATION_FAILED = 31
    FENCED_INSTANCE_ID = 82
    FENCED_MEMBER_EPOCH = 110
    STALE_MEMBER_EPOCH = 113


_POINTER, _TEXT, _INT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_INT16, _INT32, _SIZE = ctypes.c_int16, ctypes.c_int32, ctypes.c_size_t

# name: (result, arguments). A function missing here would get int arguments and cut 64-bit handles in half.
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "rd_kafka_conf_new": (_POINTER, []),
    "rd_kafka_conf_set": (_INT, [_POINTER, _TEXT, _TEXT, _TEXT, _SIZE]),
    "rd_kafka_new": (_POINTER, [_INT, _POINTER, _TEXT, _SIZE]),
    "rd_kafka_destroy": (None, [_POINTER]),
    "rd_kafka_err2str": (_TEXT, [_INT]),
    "rd_kafka_mock_cluster_new": (_POINTER, [_POINTER, _INT]),
    "rd_kafka_mock_cluster_destroy": (None, [_POINTER]),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT, [_POINTER]),
    "rd_kafka_mock_topic_create": (_INT, [_POINTER, _TEXT, _INT, _INT]),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [_POINTER, _INT32]),
    "rd_kafka_mock_set_group_consumer_session_timeout_ms": (None, [_POINTER, _INT]),
    "rd_kafka_mock_set_group_consumer_heartbeat_interval_ms": (None, [_POINTER, _INT]),
    "rd_kafka_mock_broker_set_rtt": (_INT, [_POINTER, _INT32, _INT]),
    "rd_kafka_mock_broker_set_down": (_INT, [_POINTER, _INT32]),
    "rd_kafka_mock_broker_set_up": (_INT, [_POINTER, _INT32]),
    "rd_kafka_mock_push_request_errors_array": (None, [_POINTER, _INT16, _SIZE, ctypes.POINTER(_INT)]),
    # Variadic: pairs of (error, delay in ms) follow. ctypes passes them rightly only when the fixed ones are declared.
    "rd_kafka_mock_broker_push_request_error_rtts": (_INT, [_POINTER, _INT32, _INT16, _SIZE]),
    "rd_kafka_mock_clear_request_errors": (None, [_POINTER, _INT16]),
    "rd_kafka_mock_partition_set_leader": (_INT, [_POINTER, _TEXT, _INT32, _INT32]),
    "rd_kafka_mock_coordinator_set": (_INT, [_POINTER, _TEXT, _TEXT, _INT32]),
    "rd_kafka_mock_set_controller_id": (None, [_POINTER, _INT32]),
}


def load_library(path: str, signatures: Mapping[str, tuple[Any, list[Any]]]) -> Any:
    """The C functions of `signatures`, declared, from the library at `path` or one that it links to.

    Raises EmbeddedBrokerError if the library cannot be opened or lacks a function.
    """
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise EmbeddedBrokerError(f"librdkafka cannot be opened through {path}: {error}. Remedy: {_REMEDY}") from error
    for name, (restype, argtypes) in signatures.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            version = confluent_kafka.libversion()[0]
            raise EmbeddedBrokerError(f"librdkafka {version} has no function {name}. Remedy: {_REMEDY}") from error
        function.restype, function.argtypes = restype, argtypes
    return library


@functools.cache
def _librdkafka() -> Any:
    # The extension module links to librdkafka, and a look-up in a library goes on in what it links to. So there is no
    # need to know where a wheel keeps it (confluent_kafka.libs/ on Linux, .dylibs/ on macOS, or the system's own).
    return load_library(cimpl.__file__, _SIGNATURES)


class EmbeddedBroker:
    """A cluster of `brokers` brokers, numbered from 1, in this process; up when the constructor returns.

    `topics` maps names to partition counts. `rebalance_delay_ms` is how long an empty classic group waits for more
    members. `session_timeout_ms` and `heartbeat_interval_ms` are sent to KIP-848 groups; a member that was
    killed is replaced after the former. Classic groups use the client's own `session.timeout.ms`.

    Every method raises EmbeddedBrokerError if librdkafka refuses, and when the broker is closed.
    """

    def __init__(
        self,
        topics: Mapping[str, int] | None = None,
        *,
        brokers: int = 1,
        rebalance_delay_ms: int = 0,
        session_timeout_ms: int = 6_000,
        heartbeat_interval_ms: int = 500,
    ) -> None:
        self._lib = _librdkafka()
        self._handle: int | None = _new_handle(self._lib)
        self._cluster: int | None = self._lib.rd_kafka_mock_cluster_new(self._handle, brokers)
        if not self._cluster:
            self.close()
            raise EmbeddedBrokerError(
                f"librdkafka could not start {number_of(brokers, 'broker')} on 127.0.0.1; its log says why"
            )
        self._topics: dict[str, int] = {}
        self._lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, rebalance_delay_ms)
        self._lib.rd_kafka_mock_set_group_consumer_session_timeout_ms(self._cluster, session_timeout_ms)
        self._lib.rd_kafka_mock_set_group_consumer_heartbeat_interval_ms(self._cluster, heartbeat_interval_ms)
        # Without a controller, admin calls wait out their time limit; with one they end at once: "not supported".
        self._lib.rd_kafka_mock_set_controller_id(self._cluster, 1)
        self.bootstrap: str = self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        for name, partitions in (topics or {}).items():
            self.create_topic(name, partitions)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the brokers and drop every record. Closing twice is allowed."""
        cluster, self._cluster = self._cluster, None
        if cluster:
            self._lib.rd_kafka_mock_cluster_destroy(cluster)
        handle, self._handle = self._handle, None
        if handle:
            self._lib.rd_kafka_destroy(handle)

    def create_topic(self, name: str, partitions: int, replication: int = 1) -> None:
        """Create a topic; `replication` is at most the number of brokers. Refused if the topic exists."""
        self._call("rd_kafka_mock_topic_create", name.encode(), partitions, replication)
        self._topics[name] = partitions

    def set_rtt(self, milliseconds: int, broker: int = ALL_BROKERS) -> None:
        """Delay every answer from now on; 0 ends it."""
        self._call("rd_kafka_mock_broker_set_rtt", broker, milliseconds)

    def broker_down(self, broker: int = ALL_BROKERS) -> None:
        """Cut all connections and take no new ones. Records and committed offsets stay; leadership does not move."""
        self._call("rd_kafka_mock_broker_set_down", broker)

    def broker_up(self, broker: int = ALL_BROKERS) -> None:
        """Take connections again, on the same port."""
        self._call("rd_kafka_mock_broker_set_up", broker)

    def push_errors(self, api_key: ApiKey, *faults: Fault) -> None:
        """Answer the next requests of that kind, one each, with `faults` instead of doing what they ask."""
        codes = (_INT * len(faults))(*faults)
        self._call("rd_kafka_mock_push_request_errors_array", int(api_key), len(faults), codes)

    def clear_errors(self, api_key: ApiKey) -> None:
        """Forget the errors that were pushed for that kind and not used yet."""
        self._call("rd_kafka_mock_clear_request_errors", int(api_key))

    def delay_answers(self, api_key: ApiKey, *milliseconds: int, broker: int = 1) -> None:
        """Do what the next requests of that kind ask, and answer late: what the client sees as a lost answer."""
        pairs = [_INT(number) for delay in milliseconds for number in (Fault.NONE, delay)]
        self._call(
            "rd_kafka_mock_broker_push_request_error_rtts", broker, int(api_key), _SIZE(len(milliseconds)), *pairs
        )

    def move_leader(self, topic: str, partition: int, broker: int) -> None:
        """Make `broker` the partition's leader; -1 leaves it without one."""
        self._call("rd_kafka_mock_partition_set_leader", topic.encode(), partition, broker)

    def move_coordinator(self, group: str, broker: int) -> None:
        """Make `broker` the group's coordinator."""
        self._call("rd_kafka_mock_coordinator_set", b"group", group.encode(), broker)

    def dropped(self) -> dict[str, int]:
        """Records per topic of `create_topic` that fell to the size limit, where any did. Asks over the network."""
        lost: dict[str, int] = {}
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.bootstrap, "group.id": "embedded-broker"})
        try:
            for topic, partitions in self._topics.items():
                parts = (confluent_kafka.TopicPartition(topic, partition) for partition in range(partitions))
                first = sum(consumer.get_watermark_offsets(part, timeout=10)[0] for part in parts)
                if first:
                    lost[topic] = first
        finally:
            consumer.close()
        return lost

    def _call(self, name: str, *arguments: Any) -> None:
        if not self._cluster:
            raise EmbeddedBrokerError("the embedded broker is closed")
        code = getattr(self._lib, name)(self._cluster, *arguments)
        if code:
            text = self._lib.rd_kafka_err2str(code).decode()
            shown = [argument.decode() if isinstance(argument, bytes) else argument for argument in arguments]
            raise EmbeddedBrokerError(f"{name.removeprefix('rd_kafka_mock_')}{tuple(shown)} was refused: {text}")


def _new_handle(library: Any) -> int:
    """A librdkafka handle for the cluster's bookkeeping; it connects to nothing and logs errors only."""
    reason = ctypes.create_string_buffer(512)
    conf = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(conf, b"log_level", b"3", reason, len(reason))
    handle: int | None = library.rd_kafka_new(0, conf, reason, len(reason))
    if not handle:
        raise EmbeddedBrokerError(f"librdkafka gave no handle: {reason.value.decode()}")
    return handle


def parse_topics(text: str) -> dict[str, int]:
    """`"calls:6,plans:6"` to `{"calls": 6, "plans": 6}`; argparse.ArgumentTypeError says which part is wrong."""
    topics: dict[str, int] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, count = part.rpartition(":")
        if not name or not count.isdecimal() or int(count) < 1:
            raise argparse.ArgumentTypeError(f"{part!r} is not NAME:PARTITIONS")
        topics[name] = int(count)
    return topics


def main(arguments: Sequence[str] | None = None) -> int:
    """Host the brokers until SIGTERM or SIGINT, or until the process that started this one is gone."""
    parser = argparse.ArgumentParser(prog="python -m ops.demo.embedded_broker", description=main.__doc__)
    parser.add_argument("--topics", type=parse_topics, default={}, help="NAME:PARTITIONS, separated by commas")
    parser.add_argument("--port-file", type=Path, help="where to write HOST:PORT,... once the brokers listen")
    parser.add_argument("--brokers", type=int, default=1, help="how many (default: 1)")
    options = parser.parse_args(arguments)

    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    parent = os.getppid()
    with EmbeddedBroker(options.topics, brokers=options.brokers) as broker:
        sys.stdout.write(f"{broker.bootstrap}\n")
        sys.stdout.flush()
        if options.port_file:
            _write_whole(options.port_file, broker.bootstrap)
        while not stop.wait(0.5) and os.getppid() == parent:
            pass
    return 0


def _write_whole(path: Path, text: str) -> None:
    """So that a reader sees either no file or all of it."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
