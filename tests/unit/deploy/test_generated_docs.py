"""Tables in the docs that come from the code: `python -m tests.unit.deploy.test_generated_docs` writes them anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from runtime.clients import CONSUMER, EVERY_CLIENT, PRODUCER
from runtime.rights import GroupNames, all_rights, table
from schemas.topics import Topics

PAGE = Path(__file__).parents[3] / "docs" / "deploy.md"
_SETTING = re.compile(r"(topic|consumer group|transactional id|cluster) (.+)")


def rows(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    heading = list(head)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heading, ["---"] * len(heading), *lines))


def topics() -> str:
    listed = [
        (f"`{spec.name}`", "<br>".join(f"`{key}={value}`" for key, value in spec.creation_config(3).items()))
        for spec in Topics().all()
    ]
    return rows(["Topic", "Created with"], listed)


def rights() -> str:
    def quoted(on: str) -> str:
        return _SETTING.sub(r"\1 `\2`", on)

    return rows(
        ["Who", "On", "Operations"],
        [(who, quoted(on), may) for who, on, may in table(all_rights(Topics(), GroupNames.usual()))],
    )


def clients() -> str:
    def named(name: str) -> str:
        return f"`{name}`" if name else "–"

    listed = [
        (named(each.librdkafka), named(each.aiokafka), f"`{str(each.value).lower()}`", each.why)
        for each in EVERY_CLIENT + CONSUMER + PRODUCER
    ]
    return rows(["librdkafka", "aiokafka", "Set to", "Why"], listed)


TABLES: dict[str, Callable[[], str]] = {"topics": topics, "rights": rights, "clients": clients}


def block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_in_the_docs_says_what_the_code_does(name: str) -> None:
    found = block(name).search(PAGE.read_text())
    assert found, f"docs/deploy.md has no place for {name}"
    expected = f"{found[1]}{TABLES[name]()}\n{found[2]}"
    assert found[0] == expected, "write it anew with: python -m tests.unit.deploy.test_generated_docs"


def filled(name: str, content: str, text: str) -> str:
    """The page with this content in its place of that name."""
    return block(name).sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def main() -> None:
    text = PAGE.read_text()
    for name, made in TABLES.items():
        text = filled(name, made(), text)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
