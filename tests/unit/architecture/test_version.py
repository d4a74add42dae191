"""The version is written in pyproject.toml; what cannot read it from there says the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from runtime.version import VERSION

ROOT = Path(__file__).parents[3]
WRITTEN = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
IMAGE_TAG = re.compile(r"dataverse-writeback-[\w$]+:(\d+\.\d+\.\d+\S*?)(?=[\s\"`]|$)")


def test_the_installed_version_is_the_one_in_pyproject() -> None:
    assert VERSION == WRITTEN


@pytest.mark.parametrize("key", ["version", "appVersion"])
def test_the_chart_has_the_version_of_pyproject(key: str) -> None:
    assert str(yaml.safe_load((ROOT / "helm/writeback/Chart.yaml").read_text())[key]) == WRITTEN


def test_the_images_have_the_version_of_pyproject() -> None:
    assert re.findall(r"^ARG VERSION=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE) == [WRITTEN]


@pytest.mark.parametrize("path", ["Dockerfile", "docs/deploy.md"])
def test_an_image_tag_in_an_example_has_the_version_of_pyproject(path: str) -> None:
    assert set(IMAGE_TAG.findall((ROOT / path).read_text())) == {WRITTEN}


def test_the_changelog_begins_with_the_version_of_pyproject() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == WRITTEN
