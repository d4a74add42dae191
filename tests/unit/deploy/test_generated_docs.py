"""Tables in the docs that come from the code: `python -m tests.unit.deploy.test_generated_docs` writes them anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from ops.core.privileges import WANTED, CrmRole
from planner.mapping import CONCEPTS, LONGEST_SESSION_ID
from runtime.clients import CONSUMER, EVERY_CLIENT, PRODUCER
from runtime.rights import GroupNames, all_rights, table
from schemas.topics import Topics

DOCS = Path(__file__).parents[3] / "docs"
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


def columns() -> str:
    def listed() -> Iterator[tuple[str, ...]]:
        for name, concept in CONCEPTS.items():
            kind: str = "choice" if concept.type == "optionset" else concept.type
            if concept.type == "string":
                is_id = concept.length == LONGEST_SESSION_ID and name.endswith(("_key", "_id"))
                kind = f"text, {LONGEST_SESSION_ID} characters or more" if is_id else "text, cut where it is too long"
            target = f" to {concept.target}" if concept.target else ""
            written = "yes" if concept.written or concept.entity not in ("queue_item", "account") else "no"
            yield (
                concept.entity.replace("_", " "),
                f"`{name}`",
                kind + target,
                written,
                "yes" if concept.required else "no",
            )

    return rows(["Table", "Concept", "Type", "Written", "Needed"], listed())


def privileges() -> str:
    def shown(role: CrmRole, table: str) -> str:
        return ", ".join(WANTED[role].get(table, ())) or "–"

    tables = dict.fromkeys(each for role in CrmRole for each in WANTED[role])
    listed = [(each.replace("_", " "), shown(CrmRole.WRITER, each), shown(CrmRole.OPERATOR, each)) for each in tables]
    return rows(["Table", "The writer's user", "An operator's user"], listed)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "topics": ("deploy.md", topics),
    "rights": ("deploy.md", rights),
    "clients": ("deploy.md", clients),
    "columns": ("administrators.md", columns),
    "privileges": ("administrators.md", privileges),
}
"""The table to its page and what makes it."""


def block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_in_the_docs_says_what_the_code_does(name: str) -> None:
    page, made = TABLES[name]
    found = block(name).search((DOCS / page).read_text())
    assert found, f"docs/{page} has no place for {name}"
    expected = f"{found[1]}{made()}\n{found[2]}"
    assert found[0] == expected, "write it anew with: python -m tests.unit.deploy.test_generated_docs"


def filled(name: str, content: str, text: str) -> str:
    """The page with this content in its place of that name."""
    return block(name).sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def main() -> None:
    for name, (page, made) in TABLES.items():
        file = DOCS / page
        file.write_text(filled(name, made(), file.read_text()))


if __name__ == "__main__":
    main()
