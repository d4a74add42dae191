"""Answers that somebody wrote for messages that are not built: actions, functions and custom APIs.

They are looked up before everything else, so that a test decides. A message that is bound to a row is answered only
when the row is there. What the real message would do to rows a canned one does not do.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulator.crm import Call, Organization
from simulator.schema import Table
from simulator.webapi.messages import Reply, Request, no_content, show

_ARGUMENTS = r"(?:\([^/]*\))?"
_NAMESPACE = "Microsoft.Dynamics.CRM."
_UNBOUND = re.compile(rf"^([A-Za-z_]\w*){_ARGUMENTS}$")
_BOUND = re.compile(
    rf"^([A-Za-z_]\w*)(\((?:'(?:[^']|'')*'|[^')])*\))?/{re.escape(_NAMESPACE)}([A-Za-z_]\w*){_ARGUMENTS}$", re.DOTALL
)
HeaderText = Annotated[str, Field(pattern=r"^[^\x00-\x1f]*$")]
_Key = tuple[str, str, str, bool]


class Message(BaseModel):
    """One message and what it answers. `bound_to` is a table, and `collection` says that it is its whole set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z_]\w*$")
    method: Literal["GET", "POST"] = "POST"
    bound_to: str = ""
    collection: bool = False
    status: int = Field(default=0, ge=0, le=599, description="204 without a body and 200 with one, when left out")
    body: Any = None
    headers: dict[HeaderText, HeaderText] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _a_collection_is_one_of_a_table(self) -> Self:
        if self.collection and not self.bound_to:
            raise ValueError("collection needs bound_to")
        if 0 < self.status < 200:
            raise ValueError("status has to be one of an answer: 200 to 599")
        return self

    @property
    def key(self) -> _Key:
        return self.method, self.name, self.bound_to, self.collection

    def reply(self, call: Call) -> Reply:
        if self.body is None:
            reply = no_content()
            reply.status = self.status or 204
        else:
            body = self.body
            if isinstance(body, dict) and "@odata.context" not in body and self.status < 400:
                body = {"@odata.context": f"{call.base}/$metadata#{_NAMESPACE}{self.name}Response", **body}
            reply = show(body, self.status or 200)
        reply.headers.update(self.headers)
        return reply


class Messages:
    """The canned messages of an organization."""

    def __init__(self) -> None:
        self._by_key: dict[_Key, Message] = {}

    def put(self, message: Message) -> None:
        """Replaces what was canned for the same message, method and binding."""
        self._by_key[message.key] = message

    def drop(self, name: str) -> bool:
        """Forget every message of this name."""
        gone = [key for key in self._by_key if key[1] == name]
        for key in gone:
            del self._by_key[key]
        return bool(gone)

    def clear(self) -> None:
        self._by_key.clear()

    def __bool__(self) -> bool:
        return bool(self._by_key)

    def to_list(self) -> list[dict[str, Any]]:
        return [message.model_dump(exclude_defaults=True) for message in self._by_key.values()]

    def answer(self, organization: Organization, call: Call, request: Request, path: str) -> Reply | None:
        """The reply to a message that is canned, else None. Raises the 404 of a row that is not there."""
        unbound = _UNBOUND.match(path)
        if unbound is not None:
            message = self._by_key.get((request.method, unbound[1], "", False))
            return None if message is None else self._reply(organization, call, message, ("", ""))
        bound = _BOUND.match(path)
        table = organization.schema.by_set.get(bound[1]) if bound else None
        if bound is None or table is None:
            return None
        message = self._by_key.get((request.method, bound[3], table.logical_name, bound[2] is None))
        if message is None:
            return None
        record_id = _row(organization, table, bound[2][1:-1]) if bound[2] else ""
        return self._reply(organization, call, message, (table.logical_name, record_id))

    def _reply(self, organization: Organization, call: Call, message: Message, place: tuple[str, str]) -> Reply:
        if message.method == "POST" and message.status < 400:
            organization.record(call, message.name, (*place, ""))
        return message.reply(call)


def _row(organization: Organization, table: Table, key: str) -> str:
    return organization.existing(table, organization.key(table, key))[0]
