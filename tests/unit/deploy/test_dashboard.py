"""The Grafana dashboard: it asks only for what the services export, shows all of that, and in the right units."""

from __future__ import annotations

import functools
import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deploy.chart import CHART, rendered
from tests.unit.deploy.exported import TARGET, exported
from tests.unit.deploy.promtool import promtool_binary
from tests.unit.deploy.test_alerts import plain_rules

FILE = CHART / "dashboards" / "writeback.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS: list[dict[str, Any]] = [each for each in DASHBOARD["panels"] if each["type"] != "row"]
TARGETS = [(panel, target["expr"]) for panel in PANELS for target in panel["targets"]]
MINUTES = 90
METRIC = r"\b((?:planner|writeback|process)_[a-z_]+)"
LEFT_OUT = {
    "process_virtual_memory_bytes": "address space, which says nothing of what is used",
}
IN_ORDER = [
    "Are opt-outs late?", "What is blocked?", "How old is the oldest plan?", "Does Dataverse answer?",
    "Does it throttle?", "Planner", "Broker", "Process",
]  # fmt: skip
NOT_ON_A_PANEL = {
    "WritebackPlannerSilent": "every panel of the planner is empty",
    "WritebackWriterSilent": "every panel of the writer is empty",
}


def filled_in(expr: str) -> str:
    """As Grafana asks, with one namespace, planner and writer chosen."""
    for name, value in {"__rate_interval": "4m", "namespace": "n", "planner": "p", "writer": "w"}.items():
        expr = expr.replace(f"${name}", value)
    assert "$" not in expr
    return expr


def metrics_of(expr: str) -> set[str]:
    return set(re.findall(METRIC, re.sub(r'"[^"]*"', '""', expr)))


def labels_of(expr: str) -> dict[str, dict[str, str]]:
    """What an expression demands of each metric's labels."""
    return {
        name: dict(re.findall(r'(\w+)!?=~?"([^"]*)"', matchers))
        for name, matchers in re.findall(METRIC + r"\{([^}]*)\}", expr)
    }


@pytest.mark.parametrize(("panel", "expr"), TARGETS, ids=[f"{p['title']}-{n}" for n, (p, _) in enumerate(TARGETS)])
def test_a_panel_names_only_metrics_and_labels_that_the_services_export(panel: dict[str, Any], expr: str) -> None:
    assert metrics_of(expr) == labels_of(expr).keys() != set(), "each metric is of the chosen services"
    grouped = {label for by in re.findall(r"\bby \(([^)]*)\)", expr) for label in by.split(", ")}
    for name, matchers in labels_of(expr).items():
        series = exported()[name]
        own = {label: value for label, value in matchers.items() if label not in TARGET}
        assert own.keys() <= series.labels.keys(), name
        assert grouped - {"le"} <= series.labels.keys() | TARGET, name
        for label, value in own.items():
            assert value in series.labels[label] or value == "", f"{name}: {label} is never {value!r}"
        assert {"namespace", "job"} <= matchers.keys(), f"{name} may be of another installation"
        services = {"planner": "$planner", "writeback": "$writer", "process": "$planner|$writer"}
        assert matchers["job"] == services[name.partition("_")[0]]
    legends = {target["legendFormat"] for target in panel["targets"] if target["expr"] == expr}
    assert {label for legend in legends for label in re.findall(r"\{\{(\w+)\}\}", legend)} <= grouped


@pytest.mark.parametrize(("panel", "expr"), TARGETS, ids=[f"{p['title']}-{n}" for n, (p, _) in enumerate(TARGETS)])
def test_counters_are_shown_by_how_they_grow_and_gauges_as_they_are(panel: dict[str, Any], expr: str) -> None:
    grows = set(re.findall(rf"\b(?:rate|increase)\({METRIC}", expr))
    for name in metrics_of(expr):
        assert (exported()[name].kind in ("counter", "histogram")) == (name in grows), f"{panel['title']}: {name}"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_has_the_unit_of_what_it_shows(panel: dict[str, Any]) -> None:
    units = {unit_of(target["expr"]) for target in panel["targets"]}
    shown = panel["fieldConfig"]["defaults"]["unit"]
    assert units <= {shown} or (units == {"short"} and shown == "bool_yes_no" and panel["type"] == "stat")


def unit_of(expr: str) -> str:
    """By Prometheus' naming: the end of a metric's name is its unit, and a rate is per second."""
    bare = re.sub(r"\{[^}]*\}", "", expr)
    name = min(metrics_of(expr), key=bare.index).removesuffix("_total")
    if bare.endswith("* 1000"):
        assert "_timestamp_seconds" in name
        return "dateTimeAsIso"
    if "time()" in bare:
        assert name.endswith(("_timestamp_seconds", "_time_seconds"))
        return "s"
    if re.search(r" / max|_fds / ", bare):
        return "percentunit"
    if "process_cpu_seconds" in bare:
        return "percentunit"
    if "histogram_quantile" in bare or name.endswith("_seconds"):
        return "s"
    if name.endswith("_bytes"):
        return "bytes"
    if "rate(" in bare and " / " not in bare:
        return "reqps" if name == "writeback_requests" else "cps"
    return "short"


def test_every_metric_is_on_the_dashboard_or_left_out_for_a_reason() -> None:
    shown = {exported()[name].family for _, expr in TARGETS for name in metrics_of(expr)}
    missing = {series.family for series in exported().values()} - shown
    assert missing == LEFT_OUT.keys()


def test_every_alert_is_named_by_the_panel_that_shows_why() -> None:
    by_alert = {each["alert"]: metrics_of(each["expr"]) for each in plain_rules()}
    named: set[str] = set()
    for panel in PANELS:
        metrics = {name for target in panel["targets"] for name in metrics_of(target["expr"])}
        for alert in re.findall(r"Writeback\w+", panel["description"]):
            assert by_alert[alert] & metrics, f"{panel['title']}: {alert}"
            named.add(alert)
    assert by_alert.keys() - named == NOT_ON_A_PANEL.keys()


def test_rows_come_in_the_order_of_what_hurts_an_operator() -> None:
    assert [each["title"] for each in DASHBOARD["panels"] if each["type"] == "row"] == IN_ORDER


def test_every_expression_parses_and_shows_something_of_a_running_system(tmp_path: Path) -> None:
    """promtool evaluates each over every series that the services export."""
    tests = [
        {
            "expr": f"count({filled_in(expr)}) or vector(0)",
            "eval_time": f"{MINUTES}m",
            "exp_samples": [{"labels": "{}", "value": -1}],
        }
        for _, expr in TARGETS
    ]
    content = {
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": running(), "promql_expr_test": tests}],
    }
    (tmp_path / "test.yaml").write_text(json.dumps(content))
    done = subprocess.run(
        [promtool_binary(), "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    counts = re.findall(r"got:\s*\{\}\s*(\S+)", said)
    assert len(counts) == len(TARGETS), said
    assert [expr for (_, expr), count in zip(TARGETS, counts, strict=True) if float(count) == 0] == []


def running() -> list[dict[str, str]]:
    """Every series that the services export, counting or holding a value."""
    found = []
    for name, series in exported().items():
        for values in itertools.product(*series.labels.values()):
            for job in {"planner": "p", "writeback": "w"}.get(name.partition("_")[0], "pw"):
                labels = {
                    "namespace": "n",
                    "job": job,
                    "instance": f"{job}:1",
                    **dict(zip(series.labels, values, strict=True)),
                }
                text = ", ".join(f"{label}={json.dumps(value)}" for label, value in labels.items())
                grows = series.kind in ("counter", "histogram")
                found.append({"series": f"{name}{{{text}}}", "values": f"1+1x{MINUTES}" if grows else f"1x{MINUTES}"})
    return found


def test_it_can_be_imported_into_any_grafana() -> None:
    ids = [each["id"] for each in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    assert DASHBOARD["uid"]
    assert "id" not in DASHBOARD, "Grafana gives it one"
    assert "__inputs" not in DASHBOARD, "provisioning does not fill them in"
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    asked = [panel["datasource"] for panel in PANELS] + [
        target["datasource"] for p in PANELS for target in p["targets"]
    ]
    asked += [each["datasource"] for each in variables.values() if each["type"] == "query"]
    assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in asked)
    for each in variables.values():
        if each["type"] == "query":
            assert metrics_of(each["definition"]) <= exported().keys()
    assert variables["namespace"]["allValue"] == ".*", "compose has no namespaces"


def test_no_panel_hides_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for place in itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])):
            assert place not in taken, f"{panel['title']} lies over {taken[place]}"
            taken[place] = panel["title"]


@functools.cache
def config_map() -> dict[str, Any]:
    (found,) = [each for each in rendered("full") if each["metadata"]["name"].endswith("-dashboard")]
    return found


def test_the_chart_hands_it_to_the_sidecar_as_it_is_if_asked() -> None:
    assert config_map()["kind"] == "ConfigMap"
    assert config_map()["data"]["writeback.json"].strip() == FILE.read_text().strip()
    assert config_map()["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config_map()["metadata"]["annotations"] == {"grafana_folder": "Callers"}
    assert len(yaml.safe_dump(config_map())) < 900_000, "a ConfigMap takes a mebibyte"
    assert not [each for each in rendered("minimal") if each["metadata"]["name"].endswith("-dashboard")]
