"""Commands in the pages for those who deploy: the programs understand them, and what they name is in the release."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ops.cli import app
from tests.unit.deploy.chart import (
    VALUE_SETS,
    Refused,
    environment,
    helm,
    pods,
    rendered,
    secret_folders,
    secrets_of,
    templated,
)
from tests.unit.deploy.images import ROOT, stages
from tests.unit.deploy.test_compose import understood
from tests.unit.deploy.test_platforms import examples

PAGES = [ROOT / "docs/deploy.md", ROOT / "docs/releasing.md", ROOT / "helm/writeback/README.md"]


def commands(program: str, pages: list[Path] = PAGES) -> list[tuple[str, ...]]:
    """The words after the program's name, without the variables before it."""
    text = "\n".join(page.read_text() for page in pages).replace("\\\n", " ")
    code = ["".join(pair) for pair in re.findall(r"`([^`\n]+)`|^ {4,}(\S.*)$", text, re.MULTILINE)]
    found = [re.fullmatch(rf"(?:[A-Z_]+=\S+ )*{program} ([a-z-].*)", each) for each in code]
    return list(dict.fromkeys(tuple(shlex.split(each[1])) for each in found if each))


@pytest.mark.parametrize("words", commands("writeback"), ids=" ".join)
def test_writeback_understands_its_commands(words: tuple[str, ...]) -> None:
    assert understood(app, list(words))


@pytest.mark.parametrize("words", commands("helm"), ids=" ".join)
def test_helm_understands_its_commands(words: tuple[str, ...]) -> None:
    with pytest.raises(Refused, match="unknown flag: --no-such-option"):
        helm(*words, "--no-such-option", "--help")
    assert "Usage:" in helm(*words, "--help")


def test_what_kubectl_is_asked_for_is_in_the_release() -> None:
    made = {(each["kind"].lower(), each["metadata"]["name"]) for values in VALUE_SETS for each in rendered(values)}
    short = {"deploy": "deployment"}
    asked = {
        (short.get(kind, kind), name)
        for words in commands("kubectl")
        for kind, name in re.findall(r"\b([a-z]+)[/ ](calls-writeback-[a-z-]+)", " ".join(words))
    }
    assert len(asked) > 3
    assert asked <= made
    assert {words[1] for words in commands("kubectl") if words[0] == "--namespace"} == {"outreach"}


@pytest.mark.parametrize("words", commands("docker build"), ids=" ".join)
def test_a_target_that_is_built_exists(words: tuple[str, ...]) -> None:
    assert words[words.index("--target") + 1] in stages((ROOT / "Dockerfile").read_text())


def first_values(folder: Path) -> list[str]:
    """What the commands of the page name: its own values and a mapping."""
    ((_, ours),) = [each for each in examples("yaml") if each[0] == "Install, look, write 1"]
    (folder / "ours.yaml").write_text(ours)
    return [f"--values={folder / 'ours.yaml'}", f"--set-file=mapping.content={ROOT / 'ops/demo/mapping.json'}"]


def test_W8_the_first_release_is_a_dry_run_and_the_upgrade_of_the_page_makes_it_write(tmp_path: Path) -> None:
    (install,) = [words for words in commands("helm", PAGES[:1]) if words[0] == "install"]
    (upgrade,) = [words for words in commands("helm", PAGES[:1]) if words[0] == "upgrade"]
    named = ["--values", "ours.yaml", "--set-file", "mapping.content=mapping.json"]
    assert install == ("install", "calls", "helm/writeback", "--namespace", "outreach", *named)
    assert upgrade[:-2] == (
        "upgrade",
        "calls",
        "helm/writeback",
        "--namespace",
        "outreach",
        "--reset-then-reuse-values",
    )
    first = templated(*first_values(tmp_path))
    second = templated(*first_values(tmp_path), *upgrade[-2:])
    assert [environment(pods(each)["writer"])["WRITER_WRITE"] for each in (first, second)] == ["false", "true"]


def test_the_first_release_reads_the_secrets_that_the_page_makes(tmp_path: Path) -> None:
    made = {
        (words[words.index("generic") + 1], re.split("[=:]", option)[1])
        for words in commands("kubectl", PAGES[:1])
        if "secret" in words
        for option in words
        if option.startswith("--from-")
    }
    running = pods(templated(*first_values(tmp_path)))
    read = set().union(*map(secrets_of, running.values()))
    folders = secret_folders(running["writer"])
    for file in re.findall(r'"client_secret_file": "([^"]+)"', PAGES[0].read_text()):
        secret = folders[str(Path(file).parent)]
        assert secret
        read.add((secret, Path(file).name))
    assert read == made
    assert len(made) == 4
