"""Each alert, evaluated by Prometheus' own promtool: it fires on its trouble, alone, and not before its time.

The rules are those that the chart renders. They are those of the plain file, for one release alone. In these tests the
time is 0 at the first sample, and a sample comes every minute.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deploy.chart import CHART, rendered
from tests.unit.deploy.images import ROOT
from tests.unit.deploy.promtool import promtool_binary

HOURS = 3
MINUTES = HOURS * 60
LABELS = 'namespace="outreach", service="outcomes-{}"'
Series = Mapping[str, str | None]
"""A metric with labels of its own to its values, in promtool's notation; None takes it away."""

ALWAYS_0, ALWAYS_1 = f"0x{MINUTES}", f"1x{MINUTES}"
CLOCK, COUNTS = f"0+60x{MINUTES}", f"0+30x{MINUTES}"
UNKNOWN = " ".join(["NaN"] * (MINUTES + 1))
HEALTHY: Series = {
    "writeback_oldest_unsettled_plan_age_seconds": f"2x{MINUTES}",
    "writeback_oldest_unsettled_opt_out_age_seconds": ALWAYS_0,
    "writeback_blocked_opt_outs_total": ALWAYS_0,
    "writeback_caught_up_timestamp_seconds": CLOCK,
    "writeback_broker_heard_timestamp_seconds": CLOCK,
    "writeback_outage": ALWAYS_0,
    'writeback_throttle_wait_seconds_total{identity="client_secret-0"}': f"0+5x{MINUTES}",
    'writeback_held_plans{reason="metadata"}': ALWAYS_0,
    'writeback_outcomes_total{status="completed", reason=""}': COUNTS,
    'writeback_outcomes_total{status="blocked", reason=""}': ALWAYS_0,
    'writeback_outcomes_total{status="blocked", reason="eligibility"}': COUNTS,
    'writeback_outcomes_total{status="blocked", reason="metadata"}': ALWAYS_0,
    'writeback_signed_in{identity="client_secret-0"}': ALWAYS_1,
    'writeback_credential_expiry_timestamp_seconds{identity="client_secret-0"}': f"{90 * 86_400}x{MINUTES}",
    'writeback_requeue_count_bucket{le="4.0"}': COUNTS,
    'writeback_requeue_count_bucket{le="+Inf"}': COUNTS,
    "writeback_mapping_gaps": UNKNOWN,
    'writeback_build_info{mode="write"}': ALWAYS_1,
    "writeback_unreadable_partitions": ALWAYS_0,
    "writeback_topic_misfits": ALWAYS_0,
    "writeback_missed_offsets_total": ALWAYS_0,
    'writeback_rebalances_total{what="assigned"}': f"3x{MINUTES}",
    'writeback_rebalances_total{what="released"}': f"2x{MINUTES}",
    'writeback_rebalances_total{what="lost"}': ALWAYS_0,
    "planner_pins": COUNTS,
    "planner_oldest_outcome_age_seconds": f"3x{MINUTES}",
    "planner_broker_heard_timestamp_seconds": CLOCK,
    'planner_waiting{cause="broker"}': ALWAYS_0,
    'planner_waiting{cause="publish"}': ALWAYS_0,
    "planner_lost_outcomes_total": ALWAYS_0,
    "planner_rejected_opt_outs_total": ALWAYS_0,
    'planner_outcomes_total{outcome="planned"}': COUNTS,
    'planner_outcomes_total{outcome="rejected"}': ALWAYS_0,
    "planner_rebalances_total": f"3x{MINUTES}",
    "planner_topic_misfits": ALWAYS_0,
}
ONE_AT_THE_END = f"0x{MINUTES - 10} 1x10"
TROUBLES: Mapping[str, tuple[str, Series]] = {
    "a plan does not settle": (
        "WritebackPlansDoNotSettle", {"writeback_oldest_unsettled_plan_age_seconds": f"0+60x{MINUTES}"},
    ),
    "plans are hidden behind a transaction that stays open": (
        "WritebackPlansDoNotSettle", {"writeback_caught_up_timestamp_seconds": f"0+60x60 3600x{MINUTES - 60}"},
    ),
    "an opt-out waits": (
        "WritebackOptOutLate", {"writeback_oldest_unsettled_opt_out_age_seconds": f"0x{MINUTES - 20} 60+60x20"},
    ),
    "an opt-out is blocked": ("WritebackOptOutBlocked", {"writeback_blocked_opt_outs_total": ONE_AT_THE_END}),
    "most requests fail": ("WritebackDataverseFails", {"writeback_outage": ALWAYS_1}),
    "one of two identities is throttled": (
        "WritebackThrottled",
        {'writeback_throttle_wait_seconds_total{identity="client_secret-1"}': f"0+40x{MINUTES}"},
    ),
    "a writer's broker is silent": (
        "WritebackBrokerSilent",
        {'writeback_broker_heard_timestamp_seconds{pod="1"}': f"0+60x{MINUTES - 10} {60 * (MINUTES - 10)}x10"},
    ),
    "a planner's broker is silent": (
        "WritebackBrokerSilent",
        {'planner_broker_heard_timestamp_seconds{pod="1"}': f"0+60x{MINUTES - 10} {60 * (MINUTES - 10)}x10"},
    ),
    "an opt-out is rejected": ("WritebackOptOutRejected", {"planner_rejected_opt_outs_total": ONE_AT_THE_END}),
    "plans are held": ("WritebackPlansHeld", {'writeback_held_plans{reason="metadata"}': f"7x{MINUTES}"}),
    "a plan is blocked": (
        "WritebackPlansBlocked", {'writeback_outcomes_total{status="blocked", reason="metadata"}': ONE_AT_THE_END},
    ),
    "one of two identities is refused": (
        "WritebackNotSignedIn", {'writeback_signed_in{identity="client_secret-1"}': ALWAYS_0},
    ),
    "one of two writers is refused": (
        "WritebackNotSignedIn", {'writeback_signed_in{identity="client_secret-0", pod="1"}': ALWAYS_0},
    ),
    "a secret expires in ten days": (
        "WritebackCredentialExpires",
        {'writeback_credential_expiry_timestamp_seconds{identity="client_secret-0"}': f"{10 * 86_400}x{MINUTES}"},
    ),
    "a plan is requeued for the fifth time": (
        "WritebackPlanFailsAlone",
        {
            'writeback_requeue_count_bucket{le="4.0"}': ALWAYS_0,
            'writeback_requeue_count_bucket{le="+Inf"}': ONE_AT_THE_END,
        },
    ),
    "the mapping has gaps": ("WritebackMappingDoesNotFit", {"writeback_mapping_gaps": f"2x{MINUTES}"}),
    "a dry run is left on": ("WritebackDryRun", {'writeback_build_info{mode="dry run"}': ALWAYS_1}),
    "an outcome is not planned": (
        "WritebackOutcomesAreNotPlanned", {"planner_oldest_outcome_age_seconds": f"0+60x{MINUTES}"},
    ),
    "the broker acknowledges no plans": ("WritebackPlannerWaits", {'planner_waiting{cause="publish"}': ALWAYS_1}),
    "retention took outcomes": ("WritebackOutcomesLost", {"planner_lost_outcomes_total": ONE_AT_THE_END}),
    "most outcomes are rejected": (
        "WritebackOutcomesRejected", {'planner_outcomes_total{outcome="rejected"}': f"0+60x{MINUTES}"},
    ),
    "a plan cannot be read": ("WritebackPlansUnreadable", {"writeback_unreadable_partitions": ALWAYS_1}),
    "the planner's topics do not fit": ("WritebackTopicsUnfit", {"planner_topic_misfits": f"2x{MINUTES}"}),
    "the writer's topics do not fit": ("WritebackTopicsUnfit", {"writeback_topic_misfits": ALWAYS_1}),
    "plans are deleted before they are written": (
        "WritebackPlansLost", {"writeback_missed_offsets_total": ONE_AT_THE_END},
    ),
    "partitions keep moving between writers": (
        "WritebackWriterRebalances", {'writeback_rebalances_total{what="assigned"}': f"0+1x{MINUTES}"},
    ),
    "partitions keep moving between planners": (
        "WritebackPlannerRebalances", {"planner_rebalances_total": f"0+1x{MINUTES}"},
    ),
    "no writer is scraped": (
        "WritebackWriterSilent", {name: None for name in HEALTHY if name.startswith("writeback_")},
    ),
    "no planner is scraped": (
        "WritebackPlannerSilent", {name: None for name in HEALTHY if name.startswith("planner_")},
    ),
}  # fmt: skip
MOMENTARY = {name: f"_x{MINUTES - 2} {value}x2" for name, value in {
    "writeback_oldest_unsettled_plan_age_seconds": 4000,
    "writeback_oldest_unsettled_opt_out_age_seconds": 4000,
    "writeback_outage": 1,
    'writeback_held_plans{reason="metadata"}': 5,
    "writeback_mapping_gaps": 1,
    'writeback_build_info{mode="dry run"}': 1,
    "writeback_unreadable_partitions": 1,
    "writeback_topic_misfits": 1,
    "planner_topic_misfits": 1,
    "planner_oldest_outcome_age_seconds": 4000,
    'planner_waiting{cause="broker"}': 1,
}.items()}  # fmt: skip
"""What begins two minutes before the end."""
COUNTERS = sorted(name for name in HEALTHY if re.search(r"_(total|bucket)\b", name))


def rules(*options: str) -> list[dict[str, Any]]:
    """Those that the chart renders."""
    (rule,) = [each for each in rendered("full", *options) if each["kind"] == "PrometheusRule"]
    return [each for group in rule["spec"]["groups"] for each in group["rules"]]


def plain_rules() -> list[dict[str, Any]]:
    """Those of the file, for a Prometheus without the operator."""
    content = yaml.safe_load((CHART / "rules" / "writeback.yaml").read_text())
    return [each for group in content["groups"] for each in group["rules"]]


def firing(folder: Path, overrides: Series) -> set[str]:
    """The names of the alerts that fire at the end. promtool compares; what it did not expect is in what it says."""
    series = {**HEALTHY, **overrides}
    content = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": _labelled(name), "values": values}
                    for name, values in series.items()
                    if values is not None
                ],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)',
                        "eval_time": f"{MINUTES}m",
                        "exp_samples": [{"labels": "{}", "value": -1}],
                    }
                    for name in sorted({each["alert"] for each in rules()})
                ],
            }
        ],
    }
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules()}]}))
    (folder / "test.yaml").write_text(json.dumps(content))
    command = [promtool_binary(), "test", "rules", "test.yaml"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    return _counted(said.stdout + said.stderr)


def _labelled(name: str) -> str:
    metric, _, own = name.partition("{")
    service = LABELS.format("planner" if metric.startswith("planner") else "writer")
    return f"{metric}{{{', '.join(filter(None, [service, own.rstrip('}')]))}}}"


def _counted(text: str) -> set[str]:
    """Of every alert promtool says how many fire, since none of them is -1."""
    said = re.findall(r'alertname=\\?"(\w+)\\?".*?got:\s*\{\}\s*(\S+)', text, re.DOTALL)
    found = {name: float(count) > 0 for name, count in said}
    assert found.keys() == {each["alert"] for each in rules()}, text
    return {name for name, fires in found.items() if fires}


def test_a_healthy_system_alerts_nobody(tmp_path: Path) -> None:
    assert firing(tmp_path, {}) == set()


@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_alert_fires_on_its_trouble_and_no_other_does(tmp_path: Path, trouble: str) -> None:
    alert, overrides = TROUBLES[trouble]
    assert firing(tmp_path, overrides) == {alert}


def test_without_a_single_series_both_services_are_said_to_be_silent(tmp_path: Path) -> None:
    gone = dict.fromkeys(HEALTHY, None)
    assert firing(tmp_path, gone | {"planner_pins{pod=\"of another system\"}": None}) == {
        "WritebackWriterSilent", "WritebackPlannerSilent",
    }  # fmt: skip


@pytest.mark.parametrize("name", MOMENTARY)
def test_what_is_over_in_a_moment_alerts_nobody(tmp_path: Path, name: str) -> None:
    assert firing(tmp_path, {name: MOMENTARY[name]}) == set()


def test_a_writer_that_cannot_tell_how_far_it_is_does_not_hide_one_that_is_behind(tmp_path: Path) -> None:
    """NaN is what a writer without partitions says, and 0 one that has just begun."""
    series = {
        'writeback_caught_up_timestamp_seconds{pod="0"}': UNKNOWN,
        'writeback_caught_up_timestamp_seconds{pod="1"}': ALWAYS_0,
    }
    assert firing(tmp_path, series) == set()
    behind = {'writeback_caught_up_timestamp_seconds{pod="2"}': f"60x{MINUTES}"}
    assert firing(tmp_path, series | behind) == {"WritebackPlansDoNotSettle"}


def test_every_alert_is_tried() -> None:
    assert {alert for alert, _ in TROUBLES.values()} == {each["alert"] for each in rules()}


def test_what_was_counted_hours_ago_alerts_nobody(tmp_path: Path) -> None:
    assert firing(tmp_path, {name: f"7x{MINUTES}" for name in COUNTERS if HEALTHY[name] != COUNTS}) == set()


def test_a_restart_that_sets_counters_back_to_0_alerts_nobody(tmp_path: Path) -> None:
    left_behind = dict.fromkeys(COUNTERS, f"7x{MINUTES - 20} 0x20")
    still_counting = {name: f"0+30x{MINUTES - 20} 0+30x20" for name in COUNTERS if HEALTHY[name] == COUNTS}
    assert firing(tmp_path, left_behind | still_counting) == set()


@pytest.mark.parametrize(
    "trouble", [trouble for trouble, (_, series) in TROUBLES.items() if ONE_AT_THE_END in series.values()]
)
def test_the_first_count_after_a_restart_alerts(tmp_path: Path, trouble: str) -> None:
    alert, series = TROUBLES[trouble]
    reset = {
        name: f"7x{MINUTES - 20} 0x10 1x10" if values == ONE_AT_THE_END else values for name, values in series.items()
    }
    assert firing(tmp_path, reset) == {alert}


@pytest.mark.parametrize("metric", sorted({name.partition("{")[0] for name in HEALTHY}))
def test_a_metric_that_is_missing_alerts_nobody_by_itself(tmp_path: Path, metric: str) -> None:
    """Of a version that does not have it yet, or before its first label is known."""
    silent = {
        "writeback_oldest_unsettled_plan_age_seconds": {"WritebackWriterSilent"},
        "planner_pins": {"WritebackPlannerSilent"},
    }
    gone = {name: None for name in HEALTHY if name.partition("{")[0] == metric}
    assert firing(tmp_path, gone) == silent.get(metric, set())


def test_the_troubles_of_another_release_alert_nobody_here(tmp_path: Path) -> None:
    elsewhere = {}
    for name, values in {name: values for _, series in TROUBLES.values() for name, values in series.items()}.items():
        metric, _, own = name.partition("{")
        where = 'namespace="elsewhere", service="outcomes-writer"'
        elsewhere[f"{metric}{{{', '.join(filter(None, [where, own.rstrip('}')]))}}}"] = values
    assert firing(tmp_path, elsewhere) == set()


def test_the_chart_renders_the_rules_of_the_file_for_one_release() -> None:
    def without_scope(rule: dict[str, Any]) -> dict[str, Any]:
        expr = re.sub(r'namespace="outreach", service="outcomes-(planner|writer)"(, )?', "", rule["expr"])
        annotations = {key: text for key, text in rule["annotations"].items() if key != "runbook_url"}
        return {**rule, "expr": expr.replace("{}", ""), "annotations": annotations}

    assert [without_scope(each) for each in rules()] == plain_rules()
    for each in rules():
        for metric, own in re.findall(r"\b((?:planner|writeback)_\w+)(\{[^}]*\})?", each["expr"]):
            component = "planner" if metric.startswith("planner") else "writer"
            assert own.startswith(f'{{namespace="outreach", service="outcomes-{component}"'), each["alert"]


def test_times_and_severities_are_values_of_the_chart() -> None:
    changed = {
        "oldestOptOutSeconds": 61, "oldestUnsettledPlanSeconds": 62, "oldestOutcomeSeconds": 63,
        "for": "7m", "severity": "page", "warningSeverity": "ticket",
    }  # fmt: skip
    ours = {each["alert"]: each for each in rules(*(f"--set=prometheusRule.{k}={v}" for k, v in changed.items()))}
    assert "> 61" in ours["WritebackOptOutLate"]["expr"]
    assert ours["WritebackPlansDoNotSettle"]["expr"].count("> 62") == 2
    assert "> 63" in ours["WritebackOutcomesAreNotPlanned"]["expr"]
    for before in plain_rules():
        after = ours[before["alert"]]
        assert after.get("for") == (before.get("for") and before["for"].replace("5m", "7m"))
        assert after["labels"]["severity"] == {"critical": "page", "warning": "ticket"}[before["labels"]["severity"]]


def test_every_alert_has_an_entry_of_its_own_in_the_operators_page_and_links_to_it() -> None:
    page = (ROOT / "docs" / "operators.md").read_text()
    entries = re.findall(r"^### (Writeback\w+)$", page, re.MULTILINE)
    assert entries == sorted(entries, key=[each["alert"] for each in plain_rules()].index)
    assert set(entries) == {each["alert"] for each in plain_rules()}
    for entry in re.split(r"^### Writeback", page.partition("\n## The sign-in")[0], flags=re.MULTILINE)[1:]:
        assert "**Do" in entry or "| Do |" in entry, entry
    for each in rules():
        assert each["annotations"]["runbook_url"].endswith(f"/docs/operators.md#{each['alert'].lower()}")
    assert all("runbook_url" not in each["annotations"] for each in rules("--set=prometheusRule.runbookUrl="))


def test_every_line_of_the_log_that_an_alert_or_its_entry_names_is_really_logged() -> None:
    page = (ROOT / "docs" / "operators.md").read_text()
    entries = page.partition("\n## Alerts\n")[2].partition("\n## The sign-in")[0]
    texts = [entries, *(text for each in plain_rules() for text in each["annotations"].values())]
    about = "plans?|identity|mapping|outcomes?|planner|topics|partitions|broker"
    named = {line for text in texts for line in re.findall(rf"\b(?:{about})\.[a-z_]+\b", text)}
    named -= {"mapping.json"}
    code = "".join(p.read_text() for room in ("planner", "writer", "runtime") for p in (ROOT / room).rglob("*.py"))
    assert len(named) > 10
    assert {line for line in named if f'"{line}"' not in code and f'.{line.partition(".")[2]}"' not in code} == set()
