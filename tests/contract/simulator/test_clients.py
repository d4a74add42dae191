"""Clients that nobody here wrote: each of their operations works, or is refused for a reason that the page gives.

`docs/simulator-clients.md` lists them; `python -m tests.contract.simulator.test_clients` writes it anew.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.contract.simulator.clients.sdk_operations import Outcome, run_all
from tests.contract.simulator.sdk import opened
from tests.support.installed import Unavailable, maven_libraries, npm_modules

HERE = Path(__file__).parent / "clients"
ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "simulator-clients.md"
ENOUGH = 60


@contextmanager
def fresh(folder: Path) -> Iterator[RunningSimulator]:
    with running_simulator(auth="none", limits={"enabled": False}, tls_dir=folder) as simulator:
        simulator.call(lambda core: core.gate.delegates.add(tenant.APPLICATION_USER))
        yield simulator


def outcomes_of(command: list[str], environment: dict[str, str] | None = None) -> list[Outcome]:
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, run.stderr[-2000:]
    return [Outcome(line["name"], line["good"], line["said"], line["reason"]) for line in lines]


def node(script: str, folder: Path) -> list[Outcome]:
    modules = npm_modules("node-clients", HERE)
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
    libraries = maven_libraries("olingo", HERE)
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
