"""Which alerts fire on what a service really showed: two scrapes of its metrics, evaluated by Prometheus' promtool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.deploy.images import ROOT
from tests.unit.deploy.promtool import promtool_binary

RULES = ROOT / "helm" / "writeback" / "rules" / "writeback.yaml"
MINUTES = 150
"""Longer than every alert's range and `for`."""
SILENT = {"WritebackPlannerSilent", "WritebackWriterSilent"}


@dataclass(frozen=True)
class Scrape:
    text: str
    at: float = field(default_factory=time.time)

    def values(self) -> dict[str, float]:
        """By series. A moment is given as how long it is ago, since promtool's time begins with 0."""
        found = {}
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                labels = ", ".join(f"{name}={json.dumps(value)}" for name, value in sample.labels.items())
                is_moment = sample.name.endswith("_timestamp_seconds") and sample.value > 1_000_000_000
                found[f"{sample.name}{{{labels}}}"] = sample.value - self.at if is_moment else sample.value
        return found


def alerting(before: Scrape, during: Scrape, *, within: int = MINUTES) -> set[str]:
    """What has fired `within` minutes after the service began to show `during` instead of `before`. That the other
    service is silent is left out: it was not scraped."""
    earlier, now = before.values(), during.values()
    series = [
        {"series": name, "values": f"{_course(name, earlier.get(name), 0)} {_course(name, now.get(name), MINUTES)}"}
        for name in earlier.keys() | now.keys()
    ]
    with tempfile.TemporaryDirectory() as folder:
        fires = _fire_within(Path(folder), series, minutes=within)
    return fires - SILENT


def _course(name: str, value: float | None, from_minute: int) -> str:
    if value is None:
        return " ".join(["_"] * MINUTES)
    if name.partition("{")[0].endswith("_timestamp_seconds") and value:
        return " ".join(str(value + 60 * minute) for minute in range(from_minute, from_minute + MINUTES))
    return " ".join([str(value)] * MINUTES)


def _fire_within(folder: Path, series: list[dict[str, str]], *, minutes: int) -> set[str]:
    alerts = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    asked = [
        {
            "expr": f'max_over_time(count(ALERTS{{alertname="{name}", alertstate="firing"}})'
            f"[{minutes}m:1m]) or vector(0)",
            "eval_time": f"{MINUTES + minutes - 1}m",
            "exp_samples": [{"labels": "{}", "value": -1}],
        }
        for name in alerts
    ]
    tests = [{"interval": "1m", "input_series": series, "promql_expr_test": asked}]
    content = {"rule_files": [RULES.name], "evaluation_interval": "1m", "tests": tests}
    shutil.copy(RULES, folder)
    (folder / "test.yaml").write_text(json.dumps(content))
    done = subprocess.run(
        [promtool_binary(), "test", "rules", "test.yaml"], cwd=folder, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    counts = re.findall(r'alertname=\\?"(\w+)\\?".*?got:\s*\{\}\s*(\S+)', said, re.DOTALL)
    assert [name for name, _ in counts] == alerts, said
    return {name for name, count in counts if float(count) > 0}
