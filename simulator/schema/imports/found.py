"""What both readers fill: tables as plain definitions, and remarks about what could not be taken over."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

Plain = dict[str, Any]

# The service adds these to every table itself, and a table file does not list them.
ADDED = frozenset(
    {
        "createdon", "modifiedon", "createdby", "modifiedby", "createdonbehalfby", "modifiedonbehalfby",
        "overriddencreatedon", "importsequencenumber", "versionnumber", "ownerid", "owningbusinessunit", "owninguser",
        "owningteam", "statecode", "statuscode",
    }
)  # fmt: skip


@dataclass
class Found:
    """Definitions by logical name, as in a table file. `remarks`: what is missing → where.

    `entities` and `attributes` are metadata objects as they were read: several answers can describe one column.
    """

    tables: dict[str, Plain] = field(default_factory=dict)
    entities: dict[str, Plain] = field(default_factory=dict)
    attributes: dict[str, dict[str, Plain]] = field(default_factory=lambda: defaultdict(dict))
    options: dict[tuple[str, str], dict[int, str]] = field(default_factory=dict)
    states: dict[str, dict[int, Plain]] = field(default_factory=dict)
    statuses: dict[str, list[tuple[int, str, int]]] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def remark(self, what: str, where: str) -> None:
        self.remarks[what].append(where)
