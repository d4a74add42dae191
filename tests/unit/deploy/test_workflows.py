"""The workflows run the same `make` words as a laptop, on the versions of Python that the project names."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from tests.unit.deploy.chart import pods, templated
from tests.unit.deploy.images import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = sorted(path for path in (ROOT / ".ci").rglob("*") if path.is_file() and not path.suffix)
MAKE_WORDS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def workflow(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows" / name).read_text())
    return parsed


def make_words(script: str) -> list[str]:
    return re.findall(r"\bmake ([a-z-]+)", script)


def runs(jobs: dict[str, Any]) -> list[str]:
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_make_word_of_a_workflow_exists(path: Any) -> None:
    words = [word for script in runs(workflow(path.name)["jobs"]) for word in make_words(script)]
    assert words
    assert [word for word in words if word not in MAKE_WORDS] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_asks_for_no_more_rights_than_it_uses(path: Any) -> None:
    assert workflow(path.name)["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("job", ["tests", "tests-without-java"])
def test_the_tests_run_on_every_python_that_the_project_names(job: str) -> None:
    prefix = "Programming Language :: Python :: "
    named = [each.removeprefix(prefix) for each in PROJECT["classifiers"] if each.startswith(f"{prefix}3.")]
    assert workflow("ci.yml")["jobs"][job]["strategy"]["matrix"]["python"] == named


def test_the_broker_tier_must_run_where_java_is_and_may_be_skipped_where_not() -> None:
    jobs = workflow("ci.yml")["jobs"]
    assert any("setup-java" in step.get("uses", "") for step in jobs["tests"]["steps"])
    assert "env" not in jobs["tests"]
    assert not any("setup-java" in step.get("uses", "") for step in jobs["tests-without-java"]["steps"])
    assert jobs["tests-without-java"]["env"] == {"CI": "false"}


def test_a_release_checks_its_tag_before_anything_is_published() -> None:
    job = workflow("release.yml")["jobs"]["release"]
    scripts = runs({"release": job})
    assert job["env"]["TAG"] == "${{ github.ref_name }}"
    assert scripts.index("make dist") < scripts.index("make ci") < scripts.index("make images")
    assert scripts.index("make images") < scripts.index("make publish")
    assert scripts.index("make audit sbom") < scripts.index("make publish")
    assert set(job["permissions"]) == {"contents", "packages", "id-token"}
    used = [step["uses"].partition("@")[0] for step in job["steps"] if "uses" in step]
    assert {"docker/setup-qemu-action", "docker/setup-buildx-action", "sigstore/cosign-installer"} <= set(used)


def test_a_release_signs_by_digest_all_that_it_pushed(tmp_path: Path) -> None:
    """With a docker, helm and cosign that say what the real ones say, and write down what they were asked."""
    calls = released(tmp_path, "images", PUSH="true") + released(tmp_path, "publish")
    version, dist = PROJECT["version"], tmp_path / "dist"
    names = [f"registry.example/team/dataverse-writeback-{target}:{version}" for target in ("planner", "writer", "ops")]
    images = (dist / "images.txt").read_text().splitlines()
    assert [image.partition("@")[0] for image in images] == names
    assert len({image.partition("@")[2] for image in images}) == len(names), "each has its own digest"
    builds = [call for call in calls if call.startswith("docker buildx build")]
    assert len(builds) == len(names)
    for build in builds:
        assert "--platform linux/amd64,linux/arm64 --sbom=true --provenance=mode=max --push" in build
    (chart,) = (dist / "chart.txt").read_text().splitlines()
    assert chart == f"registry.example/team/charts/writeback:{version}@sha256:{'c' * 64}"
    signed = [call.split()[-1] for call in calls if call.startswith("cosign sign --yes")]
    assert signed == [*images, f"registry.example/team/charts/writeback@sha256:{'c' * 64}"]
    attested = [call.split()[-2:] for call in calls if call.startswith("cosign attest --yes --type cyclonedx")]
    assert attested == [
        [f"{dist}/sbom-{target}.json", image]
        for target, image in zip(("planner", "writer", "ops"), images, strict=True)
    ]


def test_nothing_is_published_that_was_not_pushed_before(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        released(tmp_path, "publish")
    assert "make images" in refusal.value.stderr
    assert not (tmp_path / "calls").exists()


STAND_INS = {
    "docker": """
        while [ $# -gt 0 ]; do case $1 in --metadata-file) into=$2 ;; --target) target=$2 ;; esac; shift; done
        digest=$(printf %s "$target" | sha256sum | cut -d' ' -f1)
        printf '{\n  "buildx.build.ref": "any",\n  "containerimage.digest": "sha256:%s"\n}' "$digest" >"$into"
    """,
    "helm": f"echo Pushed: any; echo Digest: sha256:{'c' * 64}",
    "cosign": "",
}


def released(folder: Path, script: str, **environment: str) -> list[str]:
    """What a script of the release asked the tools for."""
    checkout, tools, calls = folder / "checkout", folder / "tools", folder / "calls"
    tools.mkdir(exist_ok=True)
    (checkout / ".ci").mkdir(parents=True, exist_ok=True)
    for name in ("version", script):
        (checkout / ".ci" / name).write_text((ROOT / ".ci" / name).read_text())
    (checkout / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for name, does in STAND_INS.items():
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{calls}\n{dedent(does)}\n')
        (tools / name).chmod(0o755)
    env = {"PATH": f"{tools}:/usr/bin:/bin", "DIST": str(folder / "dist"), "IMAGES": "registry.example/team/"}
    before = len(calls.read_text().splitlines()) if calls.exists() else 0
    subprocess.run(
        ["bash", f".ci/{script}"], cwd=checkout, env={**env, **environment}, check=True, capture_output=True, text=True
    )
    return calls.read_text().splitlines()[before:]


@pytest.mark.parametrize("hook", ["fix", "types", "contracts", "architecture"])
def test_a_hook_before_the_commit_runs_what_exists(hook: str) -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (entry,) = [each["entry"] for each in repository["hooks"] if each["id"] == hook]
    program, *arguments = entry.split()
    assert program == "make" or program.startswith(".venv/bin/")
    assert [word for word in make_words(entry) if word not in MAKE_WORDS] == []
    assert [path for path in arguments if path.startswith("tests/") and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_make_word_that_a_page_names_exists(page: Any) -> None:
    code = re.findall(r"`([^`\n]+)`|^ {4,}(\S.*)$", page.read_text(), re.MULTILINE)
    words = [word for pair in code for word in make_words("".join(pair))]
    assert [word for word in words if word not in MAKE_WORDS] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_script_of_the_workflows_is_valid_and_stops_at_the_first_failure(script: Any) -> None:
    assert "set -euo pipefail" in script.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_trial_installation_of_the_chart_renders_with_images_of_the_version() -> None:
    mapping = f"--set-file=mapping.content={ROOT / 'ops/demo/mapping.json'}"
    manifests = templated(f"--values={ROOT / '.ci/kind/values.yaml'}", mapping)
    names = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    assert {("StatefulSet", "calls-writeback-planner"), ("StatefulSet", "calls-writeback-writer")} <= names
    assert ("Job", "calls-writeback-topics-check") in names
    images = {each["image"] for pod in pods(manifests).values() for each in pod["containers"]}
    assert images == {f"dataverse-writeback-{target}:{PROJECT['version']}" for target in ("planner", "writer", "ops")}


def test_the_trial_installation_runs_the_broker_as_compose_does() -> None:
    manifests = list(yaml.safe_load_all((ROOT / ".ci/kind/kafka.yaml").read_text()))
    (container,) = manifests[1]["spec"]["template"]["spec"]["containers"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["kafka"]
    in_kind = {each["name"]: each["value"] for each in container["env"]}
    listeners = {name for name in in_kind if "LISTENER" in name and "NAME" not in name}
    assert container["image"] == compose["image"]
    assert in_kind.keys() == compose["environment"].keys()
    assert {name: value for name, value in in_kind.items() if name not in listeners} == {
        name: value for name, value in compose["environment"].items() if name not in listeners
    }


@pytest.mark.parametrize(("tag", "code"), [("", 0), (f"v{PROJECT['version']}", 0), ("v99.0.0", 1)])
def test_a_tag_that_is_not_the_version_is_refused(tag: str, code: int) -> None:
    ran = subprocess.run(
        ["bash", ".ci/version"], cwd=ROOT, env={"PATH": "/usr/bin:/bin", "TAG": tag}, capture_output=True, text=True
    )
    assert ran.returncode == code
    assert (ran.stdout.strip() or ran.stderr).count(PROJECT["version"]) == 1 + code
