"""Clients that nobody here wrote: each of their operations works, or is refused for a reason that the page gives.

`docs/simulator-clients.md` lists them; `python -m tests.contract.simulator.test_clients` writes it anew.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.contract.simulator.clients.sdk_operations import Outcome, run_all
from tests.contract.simulator.sdk import opened

HERE = Path(__file__).parent / "clients"
ROOT = Path(__file__).parents[3]
CACHE = ROOT / ".cache"
PAGE = ROOT / "docs" / "simulator-clients.md"
ENOUGH = 60


class Unavailable(Exception):
    """This machine cannot run the client; says why, in one line."""


@contextmanager
def fresh(folder: Path) -> Iterator[RunningSimulator]:
    with running_simulator(auth="none", limits={"enabled": False}, tls_dir=folder) as simulator:
        simulator.call(lambda core: core.gate.delegates.add(tenant.APPLICATION_USER))
        yield simulator


def installed(name: str, files: list[Path], install: Callable[[Path], list[str]]) -> Path:
    """A folder that holds what these files ask for, made once. Raises Unavailable when nothing can be installed."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    complete = folder / "complete"
    CACHE.mkdir(exist_ok=True)
    with FileLock(CACHE / f"{name}.lock"):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            run = subprocess.run(install(folder), capture_output=True, text=True, check=False)
            if run.returncode:
                raise Unavailable(f"{name} could not be installed: {(run.stderr or run.stdout).strip()[-200:]!r}")
            complete.touch()
    return folder


def needs(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise Unavailable(f"{' and '.join(missing)} not on PATH")


def outcomes_of(command: list[str], environment: dict[str, str] | None = None) -> list[Outcome]:
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, run.stderr[-2000:]
    return [Outcome(line["name"], line["good"], line["said"], line["reason"]) for line in lines]


def node(script: str, folder: Path) -> list[Outcome]:
    needs("node", "npm")
    files = [HERE / "package.json", HERE / "package-lock.json"]

    def install(to: Path) -> list[str]:
        for file in files:
            shutil.copy(file, to)
        return ["npm", "ci", "--prefix", str(to), "--no-audit", "--no-fund", "--ignore-scripts"]

    modules = installed("node-clients", files, install)
    with fresh(folder) as simulator:
        configuration = {
            "base_url": simulator.base_url,
            "tls_url": simulator.endpoints.tls_url,
            "accounts": tenant.ACCOUNTS,
            "contact": tenant.CONTACT,
            "team": tenant.TEAM,
            "person": tenant.PERSON,
        }
        environment = {
            "CLIENT_MATRIX": json.dumps(configuration),
            "CLIENT_MODULES": str(modules),
            "NODE_EXTRA_CA_CERTS": str(simulator.ca_file),
        }
        return outcomes_of(["node", str(HERE / script)], environment)


def olingo(folder: Path) -> list[Outcome]:
    needs("java", "javac", "mvn")
    pom = HERE / "pom.xml"
    libraries = installed(
        "olingo",
        [pom],
        lambda to: ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={to}"],
    )
    with fresh(folder) as simulator:
        ids = (*tenant.ACCOUNTS[:2], tenant.CONTACT, tenant.TEAM, tenant.PERSON)
        program = str(HERE / "OlingoClient.java")
        return outcomes_of(["java", "-cp", f"{libraries}/*", program, simulator.api_url, *ids])


def sdk(kind: str, folder: Path) -> list[Outcome]:
    with pytest.MonkeyPatch.context() as patch, fresh(folder) as simulator, opened(kind, simulator, patch) as client:
        return run_all(client, folder)


CLIENTS: dict[str, tuple[str, Callable[[Path], list[Outcome]]]] = {
    "PowerPlatform-Dataverse-Client, sync": ("Microsoft's Python SDK", lambda folder: sdk("sync", folder)),
    "PowerPlatform-Dataverse-Client, async": ("Microsoft's Python SDK", lambda folder: sdk("async", folder)),
    "dynamics-web-api": ("npm", lambda folder: node("dynamics-web-api.mjs", folder)),
    "dataverse-webapi": (
        "npm; it asks for no port: give the TLS port as `https.globalAgent.defaultPort`",
        lambda folder: node("dataverse-webapi.mjs", folder),
    ),
    "Apache Olingo": (
        "Maven, `odata-client-core`; ask it for minimal metadata: `setDefaultPubFormat(ContentType.JSON)`",
        olingo,
    ),
}


def section(client: str, outcomes: list[Outcome]) -> str:
    """What the page says of a client."""
    worked = [outcome.name for outcome in outcomes if not outcome.reason]
    refused = [(outcome.name, outcome.reason) for outcome in outcomes if outcome.reason]
    lines = [
        f"## {client}",
        "",
        f"{CLIENTS[client][0]}. {len(worked)} operations work: {', '.join(worked)}.",
        "",
        f"{len(refused)} are refused:",
        "",
        "| Operation | Reason |",
        "|---|---|",
        *(f"| {name} | {reason} |" for name, reason in refused),
        "",
    ]
    return "\n".join(lines)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_works_unchanged_or_is_refused_for_the_reason_that_the_page_gives(client: Any, tmp_path: Path) -> None:
    try:
        outcomes = CLIENTS[client][1](tmp_path)
    except Unavailable as missing:
        pytest.skip(f"{client}: {missing}")
    wrong = [f"{outcome.name}: {outcome.said}" for outcome in outcomes if not outcome.good]
    assert wrong == []
    assert len(outcomes) >= ENOUGH
    assert section(client, outcomes) in PAGE.read_text(encoding="utf-8"), f"write it anew: python -m {__name__}"


def main(folder: Path) -> None:
    sections = []
    for number, (client, (_, run)) in enumerate(CLIENTS.items()):
        place = folder / str(number)
        place.mkdir()
        sections.append(section(client, run(place)))
    head = (
        "# Clients that work with the simulator\n\nEach was run unchanged, with every operation below, by"
        " `tests/contract/simulator/test_clients.py`. What is refused is\nrefused in plain words; the reason is given"
        " beside it.\n"
    )
    PAGE.write_text("\n".join([head, *sections]), encoding="utf-8")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
