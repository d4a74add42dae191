"""How a tenant's own logic treats the writes: headers and a tag that every write carries. No I/O.

They belong to the operations of a batch: on the batch itself they have no effect. Reads carry none. None of them
decides what is written, so they are settings of the writer and no part of a plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from writer.core.batch import ChangeSet, Request
from writer.core.exchanges import Part


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """`tag`: the shared variable that plug-ins see."""

    headers: Mapping[str, str] = field(default_factory=dict)
    tag: str | None = None

    def applied(self, parts: Sequence[Part]) -> list[Part]:
        """The same parts, with the options on every write among them."""
        return [
            ChangeSet(tuple(map(self._on, part.requests))) if isinstance(part, ChangeSet) else self._on(part)
            for part in parts
        ]

    def _on(self, request: Request) -> Request:
        if request.method == "GET":
            return request
        return replace(request, path=self.path(request.path), headers={**request.headers, **self.headers})

    def path(self, path: str) -> str:
        """The path of a write, with the tag."""
        if self.tag is None:
            return path
        return f"{path}{'&' if '?' in path else '?'}tag={quote(self.tag, safe='')}"


def write_options(
    *, bypass_business_logic: str | None, bypass_flows: bool, detect_duplicates: bool, tag: str | None
) -> WriteOptions:
    """By the names that the service gives them."""
    headers = {}
    if bypass_business_logic is not None:
        headers["MSCRM.BypassBusinessLogicExecution"] = bypass_business_logic
    if bypass_flows:
        headers["MSCRM.SuppressCallbackRegistrationExpanderJob"] = "true"
    if detect_duplicates:
        headers["MSCRM.SuppressDuplicateDetection"] = "false"
    return WriteOptions(headers, tag)
