"""Which privileges an application user lacks, from what a table's metadata and the user's roles say."""

from __future__ import annotations

from writer.dataverse.tenant import Lacking, lacking

TASK = [
    {"Name": "prvCreateActivity", "PrivilegeId": "AAAA0000-0000-0000-0000-000000000001", "PrivilegeType": "Create"},
    {"Name": "prvReadActivity", "PrivilegeId": "aaaa0000-0000-0000-0000-000000000002", "PrivilegeType": "Read"},
    {"Name": "prvAssignActivity", "PrivilegeId": "aaaa0000-0000-0000-0000-000000000003", "PrivilegeType": "Assign"},
]


def granted(number: int, depth: str) -> dict[str, str]:
    return {"PrivilegeId": f"aaaa0000-0000-0000-0000-00000000000{number}", "Depth": depth}


def test_a_privilege_is_known_by_its_id_whatever_its_name_is() -> None:
    """All kinds of activities share their privileges."""
    assert lacking({"task": ["Create", "Read"]}, {"task": TASK}, [granted(1, "Global"), granted(2, "Deep")]) == []
    assert lacking({"task": ["Assign", "Read"]}, {"task": TASK}, [granted(2, "Global")]) == [
        Lacking("task", "Assign", "prvAssignActivity", own_rows_only=False)
    ]


def test_a_privilege_for_own_rows_is_enough_only_where_the_rows_are_its_own() -> None:
    held = [granted(2, "Basic")]
    assert lacking({"task": ["Read"]}, {"task": TASK}, held) == [
        Lacking("task", "Read", "prvReadActivity", own_rows_only=True)
    ]
    assert lacking({"task": ["Read"]}, {"task": TASK}, held, own_rows=["task"]) == []
    assert lacking({"task": ["Read"]}, {"task": TASK}, [*held, granted(2, "Global")]) == [], "the widest role counts"


def test_what_a_table_does_not_have_cannot_be_lacking() -> None:
    """A table that belongs to the organization has nothing to assign."""
    assert lacking({"task": ["Share"], "gone": ["Read"]}, {"task": TASK}, []) == []
