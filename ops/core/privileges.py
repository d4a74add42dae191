"""What a security role has to grant for each table, to the writer's application user and the operator's. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from planner.mapping import OWNER_TABLES, USUAL_TABLES, MappingFile
from schemas.records import OwnerKind
from writer.core.replies import ON_BEHALF


class CrmRole(StrEnum):
    WRITER = "writer"
    OPERATOR = "operator"


WANTED: Mapping[CrmRole, Mapping[str, Sequence[str]]] = {
    CrmRole.WRITER: {
        "queue_item": ("Read", "Write"),
        "phone_call": ("Create", "Read", "Write", "Append"),
        "task": ("Create", "Read", "Append", "Assign"),
        "account": ("Read", "AppendTo"),
        "users": ("Read",),
        "teams": ("Read",),
    },
    CrmRole.OPERATOR: {
        "queue_item": ("Read", "Write"),
        "phone_call": ("Read",),
        "task": ("Read",),
        "account": ("Read",),
        "campaign": ("Read",),
        "users": ("Read",),
        "teams": ("Read",),
    },
}
"""Phone calls belong to the user that writes them; everything else belongs to other people, so it is needed for the
whole organization. Operators write queue items to claim and release them.
"""

WHY: Mapping[str, str] = {
    "Create": "to record it",
    "Read": "to verify it and to read it back",
    "Write": "to update it",
    "Append": "to link it to the account",
    "AppendTo": "so that calls and tasks can be linked to it",
    "Assign": "to give it to the owner of callbacks and reviews",
}


def wanted(role: CrmRole, mapping: MappingFile | None) -> dict[str, Sequence[str]]:
    """Logical name of a table to the kinds of access. Without a mapping, of the tables that every environment has."""
    names = _names(mapping)
    found = {names[word]: accesses for word, accesses in WANTED[role].items() if word in names}
    sender = mapping.activity_parties.sender if mapping and mapping.activity_parties else None
    if role is CrmRole.WRITER and sender is not None and sender.kind == "queue":
        found["queue"] = ("Read",)
    return found


def own_rows(role: CrmRole, mapping: MappingFile | None) -> list[str]:
    """Phone calls belong to the application user, unless they are recorded on behalf of somebody."""
    names = _names(mapping)
    records_as_itself = role is CrmRole.WRITER and (mapping is None or mapping.caller is None)
    return [names["phone_call"]] if records_as_itself and "phone_call" in names else []


def without_table(role: CrmRole, mapping: MappingFile | None, *, bypasses: bool) -> dict[str, str]:
    """Privileges that belong to no table, and what each is for. `bypasses`: the settings pass the tenant's logic by."""
    found = {BYPASS: "since the setting bypass_business_logic is on"} if bypasses else {}
    if role is CrmRole.WRITER and mapping is not None and mapping.caller is not None:
        found[ON_BEHALF.name] = "since the mapping names a caller; assign the role directly and not through a team"
    return found


BYPASS = "prvBypassCustomBusinessLogic"


def of_caller(mapping: MappingFile) -> dict[str, Sequence[str]]:
    """What the user needs on whose behalf calls are recorded: what is done is what both users may."""
    names = _names(mapping)
    own = {"phone_call": ("Create", "Read", "Write", "Append"), "account": ("AppendTo",)}
    return {names[word]: accesses for word, accesses in own.items() if word in names}


def _names(mapping: MappingFile | None) -> dict[str, str]:
    users = {"users": OWNER_TABLES[OwnerKind.USER], "teams": OWNER_TABLES[OwnerKind.TEAM]}
    if mapping is None:
        return users | {str(word): name for word, name in USUAL_TABLES.items()}
    campaign = mapping.fields.get("queue.campaign")
    target = {"campaign": campaign.target} if campaign and campaign.target else {}
    return users | target | {str(word): each.logical_name for word, each in mapping.entities.items()}
