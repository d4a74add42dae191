"""The simulator needs nothing of Kafka's and nothing of the services: people without either run it."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

FOREIGN = (
    "confluent_kafka",
    "fastavro",
    "prometheus_client",
    "structlog",
    "opentelemetry",
    "pydantic_settings",
    "schemas",
)
WITHOUT = f"""
import sys
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FOREIGN!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Gone())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in {FOREIGN!r} else found(name, *more)
from simulator.cli import app
app(sys.argv[1:])
"""


def run(*arguments: Any) -> Any:
    return subprocess.run([sys.executable, "-c", WITHOUT, *arguments], capture_output=True, text=True, check=False)


def test_it_starts_without_what_it_does_not_need() -> None:
    result = run("serve", "--help")
    assert result.returncode == 0, result.stderr
    assert "--tls-dir" in result.stdout


def test_the_call_system_says_what_it_needs() -> None:
    result = run("calls", "--bootstrap", "x:1")
    assert result.returncode == 2
    lock = re.search(r"pip install --no-deps -r (\S+)", result.stderr)
    assert lock, result.stderr
    assert "confluent-kafka==" in (Path(__file__).parents[3] / lock[1]).read_text(encoding="utf-8")
