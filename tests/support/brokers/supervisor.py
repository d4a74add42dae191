"""Starts a server for a test run, says where it is, and ends it with the run: `SERVER FOLDER OWNER_PID`.

Writes FOLDER/SERVER.json: `{"facts": ...}`, `{"absent": reason, "fails": bool}` or `{"error": text}`.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil

from tests.support.brokers import containers, servers
from tests.support.brokers.source import Absent, Source, choose, gather

Start = Callable[[Path], AbstractContextManager[dict[str, object]]]

_VARIABLES = {"kafka": "WRITEBACK_TEST_BOOTSTRAP", "registry": "WRITEBACK_TEST_REGISTRY"}
_TITLES = {"kafka": "Apache Kafka", "registry": "schema registry"}
_STARTS: dict[tuple[str, Source], Start] = {
    ("kafka", Source.MAVEN): servers.kafka_from_maven,
    ("kafka", Source.DOCKER): containers.kafka_in_docker,
    ("registry", Source.MAVEN): servers.registry_from_maven,
    ("registry", Source.DOCKER): containers.registry_in_docker,
}


def main(server: str, folder: Path, owner: int) -> None:
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    threading.Thread(target=end_with, args=(owner,), daemon=True).start()
    work = folder / server
    work.mkdir(exist_ok=True)
    try:
        with answer_for(server, work) as answer:
            write_whole(folder / f"{server}.json", json.dumps(answer))
            while "facts" in answer:  # one long pause would miss a signal that comes just before it begins
                time.sleep(0.2)
    finally:
        shutil.rmtree(folder if not is_alive(owner) else work, ignore_errors=True)


@contextlib.contextmanager
def answer_for(server: str, work: Path) -> Iterator[dict[str, Any]]:
    """The server runs inside this context, if there is one."""
    facts = gather(_VARIABLES[server])
    source = choose(_TITLES[server], facts)
    with contextlib.ExitStack() as running:
        if isinstance(source, Absent):
            answer: dict[str, Any] = {"absent": source.reason, "fails": source.fails}
        elif source is Source.GIVEN:
            key = "bootstrap" if server == "kafka" else "url"
            answer = {"facts": {key: facts.given, "source": source}}
        else:
            try:
                found = running.enter_context(_STARTS[server, source](work))
                answer = {"facts": {**found, "source": source}}
            except Exception as error:  # noqa: BLE001 - whatever it is, the tests that wait have to be told
                answer = {"error": f"{_TITLES[server]} from {source} did not start: {error!r}"}
        yield answer


def end_with(owner: int) -> None:
    """Sends this process SIGTERM when the owner is gone. Runs in a thread, so that a start is cut short too."""
    while is_alive(owner):
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def write_whole(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
