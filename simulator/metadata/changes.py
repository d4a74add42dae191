"""Tables, columns and keys made, changed and dropped by their URLs."""

import re

from simulator import errors
from simulator.crm import Call, Organization
from simulator.metadata import definitions, edit
from simulator.metadata.lookup import made, one
from simulator.schema import Column, Table
from simulator.webapi.messages import Reply, Request, no_content, show

# `Attributes(key)/Microsoft.Dynamics.CRM.Type/OptionSet`, as far as they come.
MEMBER = re.compile(r"^(\w+)(?:\(([^)]*)\))?(?:/Microsoft\.Dynamics\.CRM\.(\w+))?(?:/((?:Global)?OptionSet))?$")


def change(organization: Organization, call: Call, request: Request, target: tuple[Table, str]) -> Reply:
    """Make, change and delete columns and keys; delete a table."""
    table, rest = target
    match = MEMBER.match(rest)
    if match and match[4]:
        raise errors.verb_not_allowed(request.method)
    name, key = (match[1], match[2]) if match else ("", None)
    entity = f"EntityDefinitions({definitions.metadata_id(table.logical_name)})"
    match request.method, name, key is not None:
        case "PUT", "", False:
            edit.change_table(organization, table, request.json("EntityDefinitions"))
        case "DELETE", "", False:
            edit.custom_only(table)
            organization.schema.drop(table.logical_name)
        case "POST", "Attributes", False:
            column = edit.add_column(organization, table, request.json(name))
            return made(call, f"{entity}/Attributes", table.logical_name, column.name)
        case "PUT", "Attributes", True:
            edit.change_column(organization, table, _column(table, str(key)), request.json(name))
        case "DELETE", "Attributes", True:
            edit.drop_column(organization, table, _column(table, str(key)))
        case "POST", "Keys", False:
            return made(
                call, f"{entity}/Keys", table.logical_name, "key", edit.add_key(organization, table, request.json(name))
            )
        case "DELETE", "Keys", True:
            found = one(definitions.keys(table, organization.keys_of(table)), str(key))
            edit.drop_key(organization, table, found["LogicalName"])
        case _:
            raise errors.verb_not_allowed(request.method)
    return no_content()


def _column(table: Table, key: str) -> Column:
    found = one([definitions.attribute(table, column) for column in table.columns.values()], key)
    return table.columns[found["LogicalName"]]


def create_entity(organization: Organization, call: Call, request: Request) -> Reply:
    """The documented `POST EntityDefinitions`: one table."""
    (table,) = edit.create_tables(organization, {"Entities": [request.json("EntityDefinitions")]})
    return made(call, "EntityDefinitions", table.logical_name)


def create_entities(organization: Organization, call: Call, request: Request) -> Reply:
    if request.method != "POST":
        raise errors.verb_not_allowed(request.method)
    tables = edit.create_tables(organization, request.json(""))
    ids = [definitions.metadata_id(table.logical_name) for table in tables]
    return show(
        {"@odata.context": f"{call.base}/$metadata#Microsoft.Dynamics.CRM.CreateEntitiesResponse", "EntityIds": ids}
    )
