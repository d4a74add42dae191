"""What a release is made of: wheel and chart take one version from one place."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import yaml

from runtime.version import VERSION
from tests.unit.deploy.chart import helm_binary

ROOT = Path(__file__).parents[3]
SOURCE = "https://forge.example/team/writeback"


def test_wheel_and_chart_carry_the_version_of_pyproject(tmp_path: Path) -> None:
    tools = f"{Path(helm_binary()).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "DIST": str(tmp_path / "dist"), "HOME": str(tmp_path), "PATH": tools, "SOURCE": SOURCE}
    env.pop("TAG", None)
    subprocess.run(["bash", ".ci/dist"], cwd=ROOT, env=env, check=True, capture_output=True)
    made = {path.name: path for path in (tmp_path / "dist").iterdir()}
    wheel, chart = f"dataverse_writeback-{VERSION}-py3-none-any.whl", f"writeback-{VERSION}.tgz"
    assert made.keys() == {wheel, chart, "SHA256SUMS"}
    lines = [line.split() for line in made["SHA256SUMS"].read_text().splitlines()]
    sums = {name: digest for digest, name in lines}
    assert sums == {name: hashlib.sha256(made[name].read_bytes()).hexdigest() for name in (wheel, chart)}
    with tarfile.open(made[chart]) as packed:
        content = packed.extractfile("writeback/Chart.yaml")
        assert content is not None
        of_chart = yaml.safe_load(content.read())
        names = {each.removeprefix("writeback/") for each in packed.getnames()}
    assert (of_chart["version"], of_chart["appVersion"]) == (VERSION, VERSION)
    assert (of_chart["home"], of_chart["sources"]) == (SOURCE, [SOURCE])
    assert {"values.schema.json", "README.md", "icon.svg", "files/topics.json", "files/rights.json"} <= names
    assert not [each for each in names if each.startswith("ci/")]
