"""Find metadata by the keys that URLs have, and answer what was made."""

from typing import Any

from simulator import errors
from simulator.crm import Call, Organization
from simulator.metadata import definitions
from simulator.schema import Table
from simulator.webapi.messages import Reply, Request, no_content

Json = dict[str, Any]


def get_only(request: Request) -> None:
    if request.method != "GET":
        raise errors.verb_not_allowed(request.method)


def made(call: Call, path: str, *parts: str) -> Reply:
    url = f"{call.base}/{path}({definitions.metadata_id(*parts)})"
    return no_content({"OData-EntityId": url})


def table_of(organization: Organization, key: str) -> Table:
    """The table of `LogicalName='x'` or a metadata id. Raises 404 when there is none."""
    name, equals, value = key.partition("=")
    text = (value if equals else key).strip("'")
    wanted = name.strip() if equals else "MetadataId"
    for table in organization.schema:
        if (wanted == "LogicalName" and table.logical_name == text) or (
            wanted == "MetadataId" and definitions.metadata_id(table.logical_name) == text.lower()
        ):
            return table
    raise errors.Refusal(
        404, "0x80060888", f"Could not find an entity with name {text} and Id = 00000000-0000-0000-0000-000000000000."
    )


def one(items: list[Json], key: str) -> Json:
    """The object of `LogicalName='x'` or a metadata id. Raises 404."""
    name, equals, value = key.partition("=")
    wanted, text = (name.strip(), value.strip("'")) if equals else ("MetadataId", key.lower())
    found = next((item for item in items if item.get(wanted) == text), None)
    if found is None:
        raise errors.Refusal(404, "0x80060888", f"Could not find a metadata item with {wanted} = {text}.")
    return found
