"""Tables, columns, keys and relationships made and changed over the Web API, as far as a custom table needs it."""

from dataclasses import replace
from typing import Any

from simulator import errors
from simulator.crm.organization import Organization
from simulator.metadata import definitions
from simulator.metadata.definitions import CRM
from simulator.schema import attributes
from simulator.schema.load import ColumnDefinition, TableDefinition, TargetDefinition, build, column_of
from simulator.schema.model import LOOKUPS, Column, Table

Json = dict[str, Any]


def _invalid(sentence: str) -> errors.Refusal:
    return errors.Refusal(400, "0x80040203", sentence)


def column_definition(attribute: Json) -> tuple[str, ColumnDefinition]:
    """Logical name and definition from attribute metadata. Raises 400 for a type that no table here can have."""
    schema_name = str(attribute.get("SchemaName", ""))
    kind = str(attribute.get("@odata.type", "")).removeprefix("#").removeprefix(CRM).removeprefix("Complex")
    name = attributes.TYPES.get(kind.removesuffix("AttributeMetadata"))
    if not schema_name or name is None:
        raise _invalid(f"Columns of type '{kind}' are not supported.")
    column = attributes.definition(name, attribute)
    if attribute.get("OptionSet"):
        column["options"] = attributes.options(attribute["OptionSet"])
    return schema_name.lower(), ColumnDefinition.model_validate(column)


def create_tables(organization: Organization, payload: Json) -> list[Table]:
    """The `CreateEntities` action: all tables, or none."""
    if payload.get("SolutionUniqueName"):
        raise errors.not_built("tables in a solution: there are none here")
    tables = [_table(organization, entity) for entity in payload.get("Entities", [])]
    for table in tables:
        organization.schema.put(table)
    return tables


def _table(organization: Organization, entity: Json) -> Table:
    schema_name = str(entity.get("SchemaName", ""))
    name = schema_name.lower()
    if "_" not in name:
        raise _invalid(f"The schema name '{schema_name}' needs a publisher's prefix.")
    if name in organization.schema.by_name:
        raise errors.Refusal(400, "0x80044363", f"An entity with the name {name} already exists.")
    given = entity.get("Attributes", [])
    columns = dict(column_definition(attribute) for attribute in given)
    primary = next((str(item["SchemaName"]).lower() for item in given if item.get("IsPrimaryName")), None)
    if primary is None:
        raise _invalid(f"The table '{schema_name}' needs a primary name column.")
    return build(
        TableDefinition.model_validate(
            {
                "table": name,
                "set": f"{name}es" if name.endswith(("s", "x", "ch")) else f"{name}s",
                "id": f"{name}id",
                "name": primary,
                "schema_name": schema_name,
                "label": attributes.label(entity.get("DisplayName")) or schema_name,
                "type_code": 10_500 + len(organization.schema.by_name),
                "custom": True,
                "columns": columns,
            }
        )
    )


def change_table(organization: Organization, table: Table, payload: Json) -> None:
    """The documented `PUT EntityDefinitions(…)` carries the whole definition: labels change, the rest may not."""
    held = definitions.entity(table)
    changed = [
        name
        for name, value in payload.items()
        if name in held and name not in _LABELS and not isinstance(value, dict) and value != held[name]
    ]
    if changed:
        raise errors.not_built(f"changing {', '.join(changed)} of a table")
    label = attributes.label(payload.get("DisplayName"))
    if label:
        organization.schema.put(replace(table, label=label))


_LABELS = frozenset({"DisplayName", "DisplayCollectionName", "Description", "HasChanged"})


def custom_only(table: Table) -> None:
    """Raises 400: the service's own tables cannot be deleted."""
    if not table.custom:
        raise _invalid(f"The table '{table.logical_name}' is a system table and cannot be deleted.")


def add_column(organization: Organization, table: Table, attribute: Json) -> Column:
    name, definition = column_definition(attribute)
    if name in table.columns:
        raise errors.Refusal(400, "0x80044365", f"An attribute with the name {name} already exists.")
    column = column_of(table.logical_name, name, definition)
    organization.schema.put(replace(table, columns={**table.columns, name: column}))
    return column


def change_column(organization: Organization, table: Table, column: Column, attribute: Json) -> None:
    """Limits, label and required level; the type stays."""
    wanted = column_of(table.logical_name, column.name, column_definition(attribute)[1])
    if wanted.kind is not column.kind:
        raise _invalid(f"The type of the column '{column.name}' cannot be changed.")
    changed = replace(
        column,
        max_length=wanted.max_length,
        minimum=wanted.minimum,
        maximum=wanted.maximum,
        precision=wanted.precision,
        default=wanted.default,
        label=wanted.label,
        required=wanted.required,
        text_format=wanted.text_format,
        secured=wanted.secured,
    )
    organization.schema.put(replace(table, columns={**table.columns, column.name: changed}))


def drop_column(organization: Organization, table: Table, column: Column) -> None:
    """Raises 400 for columns the service made itself, and for those a key needs."""
    if "_" not in column.name or column.name in (table.primary_id, table.primary_name):
        raise _invalid(f"The column '{column.name}' is a system column and cannot be deleted.")
    if any(column.name in names for names in table.keys.values()):
        raise _invalid(f"The column '{column.name}' is part of an alternate key and cannot be deleted.")
    kept = {name: held for name, held in table.columns.items() if name != column.name}
    organization.schema.put(replace(table, columns=kept))


def add_key(organization: Organization, table: Table, payload: Json) -> str:
    """Raises 400 for columns that are not there, more than 16 of them, or more than 10 keys."""
    name = str(payload.get("SchemaName", "")).lower()
    columns = [str(item).lower() for item in payload.get("KeyAttributes", [])]
    missing = [item for item in columns if item not in table.columns]
    if not name or not columns or missing or len(columns) > 16 or len(table.keys) >= 10:
        raise _invalid(f"The key '{name}' is not valid: {', '.join(missing) or 'too many, or no, columns or keys'}.")
    organization.schema.put(replace(table, keys={**table.keys, name: tuple(columns)}))
    return name


def drop_key(organization: Organization, table: Table, name: str) -> None:
    kept = {key: columns for key, columns in table.keys.items() if key != name}
    organization.schema.put(replace(table, keys=kept))


def add_relationship(organization: Organization, payload: Json) -> str:
    """A one-to-many relationship with its lookup column, or a many-to-many one with its table. Returns its name."""
    kind = str(payload.get("@odata.type", "")).rpartition(".")[2]
    if kind == "ManyToManyRelationshipMetadata":
        return _add_many_to_many(organization, payload)
    if kind != "OneToManyRelationshipMetadata":
        raise _invalid(f"'{kind}' is not a kind of relationship.")
    schema = organization.schema
    name, lookup = str(payload["SchemaName"]), payload["Lookup"]
    table = schema.by_name.get(str(payload["ReferencingEntity"]).lower())
    target = schema.by_name.get(str(payload["ReferencedEntity"]).lower())
    if table is None or target is None:
        raise _invalid(f"The relationship '{name}' names a table that does not exist.")
    if any(held.schema_name == name for column in table.columns.values() for held in column.lookups):
        raise errors.Refusal(400, "0x80044367", f"A relationship with the name {name} already exists.")
    column_name = str(lookup["SchemaName"])
    definition = ColumnDefinition.model_validate(
        {
            "type": "lookup",
            "schema_name": column_name,
            "label": attributes.label(lookup.get("DisplayName")) or column_name,
            "targets": {
                target.logical_name: TargetDefinition(
                    navigation=column_name,
                    collection=name,
                    schema_name=name,
                    on_delete=attributes.on_delete(payload),
                )
            },
        }
    )
    column = column_of(table.logical_name, column_name.lower(), definition)
    schema.put(replace(table, columns={**table.columns, column.name: column}))
    return name


def _add_many_to_many(organization: Organization, payload: Json) -> str:
    schema = organization.schema
    name = str(payload["SchemaName"])
    intersect = str(payload.get("IntersectEntityName") or name).lower()
    sides = []
    for number in (1, 2):
        table = schema.by_name.get(str(payload[f"Entity{number}LogicalName"]).lower())
        if table is None:
            raise _invalid(f"The relationship '{name}' names a table that does not exist.")
        navigation = str(payload.get(f"Entity{number}NavigationPropertyName") or name)
        sides.append((table, navigation))
    (first, first_navigation), (second, second_navigation) = sides
    taken = {(first.logical_name, first_navigation), (second.logical_name, second_navigation)}
    if intersect in schema.by_name or taken & schema.associations.keys():
        raise errors.Refusal(400, "0x80044367", f"A relationship with the name {name} already exists.")
    columns = (first.primary_id, second.primary_id)
    if first is second:
        columns = (f"{first.primary_id}one", f"{first.primary_id}two")
    schema.put(
        build(
            TableDefinition.model_validate(
                {
                    "table": intersect, "set": f"{intersect}set", "id": f"{intersect}id", "name": f"{intersect}id",
                    "schema_name": name, "label": name, "type_code": 10_500 + len(schema.by_name), "custom": True,
                    "ownership": "none", "optimistic_concurrency": False,
                    "columns": {column: {"type": "guid"} for column in columns},
                    "intersect": {
                        "schema_name": name,
                        "first": {"table": first.logical_name, "column": columns[0], "navigation": first_navigation},
                        "second": {"table": second.logical_name, "column": columns[1], "navigation": second_navigation},
                    },
                }
            )
        )
    )  # fmt: skip
    return name


def drop_relationship(organization: Organization, name: str) -> None:
    """Takes the lookup column, or the intersect table, along. Raises 400 for one of the service's own."""
    for table in list(organization.schema):
        if table.intersect is not None and table.intersect.schema_name == name:
            custom_only(table)
            organization.schema.drop(table.logical_name)
            return
        for column in table.columns.values():
            if column.kind in LOOKUPS and any(held.schema_name == name for held in column.lookups):
                drop_column(organization, table, column)
                return
