"""With the extra `ops` alone every command explains itself.

What another extra would bring is hidden from a process of its own, as if it had never been installed.
"""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.commands import OWN_COMMANDS
from tests.unit.deploy.images import ROOT
from tests.unit.deploy.test_extras import hidden_with

HIDING = """
import json, sys
hidden = set(json.loads(sys.argv[1]))
class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hiding())
"""


def test_with_the_extra_ops_alone_every_command_explains_itself() -> None:
    code = f"""
from ops import start
for command in {OWN_COMMANDS!r}:
    sys.argv = ["writeback", *command.split(), "--help"]
    try:
        start.main()
    except SystemExit as ended:
        assert not ended.code, (command, ended.code)
"""
    hidden = json.dumps(sorted(hidden_with("ops")))
    command = [sys.executable, "-c", HIDING + code, hidden]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("Usage: writeback") == len(OWN_COMMANDS)
