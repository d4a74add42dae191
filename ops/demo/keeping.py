"""What a person can try on a demo that keeps running: a profile for the commands, and commands to call with it."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Running:
    """Where the running demo is. `session` is one of those that landed."""

    bootstrap: str
    crm_url: str
    mapping_file: Path
    folder: Path
    session: str


def this_program() -> str:
    """What to type in another terminal: the name, where it finds this very program; else its path."""
    script = Path(sys.argv[0]).absolute()
    if script.suffix == ".py":  # called as a module
        return shlex.join((sys.executable, "-m", "ops.start"))
    found = shutil.which(script.name)
    return script.name if found and script.samefile(found) else shlex.quote(str(script))


def what_to_try(running: Running) -> Iterator[str]:
    """Lines for a person; those that begin with four blanks are commands. Writes the profile that they name."""
    profile = running.folder / "profile.toml"
    profile.write_text(_profile(running), encoding="utf-8")
    writeback = f"{this_program()} --profile {shlex.quote(str(profile))}"
    yield "Everything keeps running. To try, in another terminal:"
    for command, what in (
        (f"{writeback} status", "what landed, what waits, what was rejected"),
        (f"{writeback} trace {running.session}", "one session, from its outcome to the rows in the CRM"),
        (f"{writeback} rejected list", "the malformed events, with the reason and the remedy"),
        (f"{writeback} doctor --only sign-in --only privileges --only metadata", "is the CRM set up"),
        (f"{writeback} mapping explain --disposition do_not_call", "what an opt-out writes, column by column"),
        (f"{writeback} watch", "the state, live"),
    ):
        yield f"    {command}    # {what}"
    yield "The broker of the demo knows neither offsets by time nor active groups: `rewind` needs a real Kafka."
    yield f"The CRM's page, with every write and switches for faults: {running.crm_url}/"
    yield f"Logs and ledger: {running.folder}. Ctrl-C ends everything."


def _profile(running: Running) -> str:
    """JSON's texts are TOML's too."""
    return (
        f"mapping_file = {json.dumps(str(running.mapping_file))}\n"
        f"view_folder = {json.dumps(str(running.folder / 'view'))}\n"
        "[broker]\n"
        f"bootstrap_servers = {json.dumps(running.bootstrap)}\n"
        "check_topic_policies = false\n"
        "[dataverse]\n"
        f"url = {json.dumps(running.crm_url)}\n"
        "[[identities]]\n"
        'kind = "none"\n'
    )
