"""What a body asks for: columns, binds and related rows, checked in the order in which the service complains."""

from dataclasses import dataclass
from typing import Any

from simulator import errors
from simulator.crm import keys, literals
from simulator.crm.call import Call
from simulator.crm.fields import Field
from simulator.crm.organization import Organization
from simulator.schema import Column, Lookup, Table
from simulator.schema.model import Association, Binding

_BIND = "@odata.bind"
_Collection = tuple[Table, Column] | Association
_Declared = tuple[str, Binding, Any]


@dataclass(slots=True)
class Wanted:
    """A body after the checks. `values` by wire name, `targets` for lookups, `related` rows to make with it."""

    values: dict[str, Any]
    targets: dict[str, str]
    related: tuple[tuple[Table, Column, list[dict[str, Any]]], ...] = ()
    parents: tuple[tuple[Column, Lookup, dict[str, Any]], ...] = ()
    members: tuple[tuple[Table, Column, str], ...] = ()
    associated: tuple[tuple[Association, str], ...] = ()


def read(organization: Organization, call: Call, table: Table, body: dict[str, Any], *, creating: bool) -> Wanted:
    """Raises the first refusal the service would give: unknown property, wrong type, beyond limits, dangling bind."""
    wanted = Wanted({}, {})
    plain, binds = _sorted(organization, wanted, table, body, creating=creating)
    declared, collections = _bound(organization, table, binds, creating=creating) if binds else ([], [])
    if table.secured:
        touched = [item.column for item, _ in plain] + [binding.column for _, binding, _ in declared]
        _check_security(organization, call, table, touched, wanted, creating=creating)
    if plain:
        _check_values(table, wanted, plain)
    for bind in declared:
        _bind(organization, call, wanted, table, bind)
    for collection, value in collections:
        _bind_members(organization, call, wanted, table, (collection, value))
    if organization.switches.application_required == "refuse":
        _check_required(table, wanted, creating=creating)
    return wanted


def _sorted(
    organization: Organization, wanted: Wanted, table: Table, body: dict[str, Any], *, creating: bool
) -> tuple[list[tuple[Field, Any]], list[tuple[str, Any]]]:
    """Plain columns with their converted values, and what is bound; navigation properties go into `wanted`."""
    plain: list[tuple[Field, Any]] = []
    binds: list[tuple[str, Any]] = []
    fields = organization.fields(table, creating=creating)
    if "@odata.type" in body:
        _check_type(table, body["@odata.type"])
    values = wanted.values
    for name, value in body.items():
        item = fields.get(name)
        if item is not None:
            kind = type(value)
            if kind is item.plain and (kind is not str or (value.isascii() and 0 < len(value) <= item.longest)):
                values[item.wire] = value
                continue
            converted = _converted(table, item, value)
            if item.taken:
                plain.append((item, converted))
            elif organization.switches.read_only_columns == "refuse":
                raise _not_settable(table, item.column, creating=creating)
        elif "@" in name:
            if name.endswith(_BIND):
                binds.append((name.removesuffix(_BIND), value))
        elif name in table.by_wire:
            raise errors.payload(
                table.entity_set,
                "Microsoft.Crm.CrmException: CRM do not support direct update of Entity Reference properties, Use"
                " Navigation properties instead.",
            )
        else:
            _navigation(organization, wanted, table, (name, value), creating=creating)
    return plain, binds


def _converted(table: Table, item: Field, value: Any) -> Any:
    try:
        return value if value is None else item.convert(value)
    except (TypeError, ValueError):
        raise literals.wrong_type(table, item.column, value) from None


def _bound(
    organization: Organization, table: Table, binds: list[tuple[str, Any]], *, creating: bool
) -> tuple[list[_Declared], list[tuple[_Collection, list[Any]]]]:
    """What is bound to single lookups, and what to collections. Raises the refusal of a name that is neither."""
    single: list[_Declared] = []
    many: list[tuple[str, list[Any]]] = []
    for name, value in binds:
        if isinstance(value, list):
            many.append((name, value))
            continue
        binding = table.binds.get(name)
        if binding is None:
            raise errors.undeclared_bind(table.entity_set, name)
        single.append((name, binding, value))
    return single, [(_collection(organization, table, name, creating=creating), value) for name, value in many]


def _check_type(table: Table, given: Any) -> None:
    """Raises the refusal of an entity that says it is one of another table."""
    if given is None:
        return
    if not isinstance(given, str) or given.rpartition(".")[2] != table.logical_name:
        raise errors.odata(
            table.entity_set,
            f"An entry with type '{given}' was found, but it is not assignable to the expected type"
            f" 'Microsoft.Dynamics.CRM.{table.logical_name}'.",
        )


def _check_security(
    organization: Organization, call: Call, table: Table, touched: list[Column], wanted: Wanted, *, creating: bool
) -> None:
    """Raises the 403 of a secured column among those that the body touches, whichever way."""
    columns = [*touched, *(table.by_wire[wire] for wire in wanted.values), *(column for column, _, _ in wanted.parents)]
    verb = "create" if creating else "update"
    if not all(organization.may(call, verb, table, column) for column in columns):
        raise errors.secured(verb)


def _check_values(table: Table, wanted: Wanted, plain: list[tuple[Field, Any]]) -> None:
    values = wanted.values
    for item, value in plain:
        if value is None:
            if item.needed:
                raise errors.required(table.logical_name, item.column.name)
        elif item.check is not None:
            item.check(value)
        values[item.wire] = value


def _not_settable(table: Table, column: Column, *, creating: bool) -> errors.Refusal:
    verb = "create" if creating else "update"
    return errors.invalid_argument(f"The property '{column.name}' of '{table.logical_name}' is not valid for {verb}.")


def _navigation(
    organization: Organization, wanted: Wanted, table: Table, item: tuple[str, Any], *, creating: bool
) -> None:
    """A navigation property used as a property: null clears it, an object or a list makes related rows."""
    name, value = item
    single = table.navigation.get(name)
    if single is not None:
        column, lookup = single
        if value is None:
            if column.required == "SystemRequired":
                raise errors.required(table.logical_name, column.name)
            wanted.values[column.wire] = None
        elif isinstance(value, dict) and creating:
            wanted.parents += ((column, lookup, value),)
        else:
            raise errors.odata(
                table.entity_set,
                f"A 'PrimitiveValue' node with non-null value was found when trying to read the value of the property"
                f" '{name}'; however, a 'StartArray' node, a 'StartObject' node, or a 'PrimitiveValue' node with null"
                " value was expected.",
            )
        return
    for child, column, lookup in organization.schema.referencing.get(table.logical_name, ()):
        if lookup.collection == name and creating and isinstance(value, list):
            if not all(isinstance(item, dict) for item in value):
                raise errors.odata(table.entity_set, f"The collection '{name}' must hold entities.")
            wanted.related += ((child, column, value),)
            return
    raise errors.undeclared_property(table.entity_set, table.logical_name, name)


def _collection(organization: Organization, table: Table, name: str, *, creating: bool) -> _Collection:
    """What `collection@odata.bind` binds to: the rows that point here, or those that are associated.

    Refuses a name that is not a collection, and an update, which binds no collections.
    """
    if name in table.binds or not creating:
        raise errors.odata(table.entity_set, f"The '{name}@odata.bind' annotation must be an entity reference.")
    for child, column, lookup in organization.schema.referencing.get(table.logical_name, ()):
        if lookup.collection == name and child.logical_name != "activityparty":
            return child, column
    association = organization.schema.associations.get((table.logical_name, name))
    if association is None:
        raise errors.undeclared_bind(table.entity_set, name)
    return association


def _bind_members(
    organization: Organization,
    call: Call,
    wanted: Wanted,
    table: Table,
    bind: tuple[_Collection, list[Any]],
) -> None:
    place, references = bind
    for reference in references:
        if not isinstance(reference, str):
            raise errors.odata(table.entity_set, "A bound collection must hold entity references.")
        target, record_id = resolve(organization, call, reference)
        if isinstance(place, Association):
            fits = target.logical_name == place.other.table
            wanted.associated += ((place, record_id),)
        else:
            fits = target is place[0]
            wanted.members += ((target, place[1], record_id),)
        if not fits:
            raise errors.odata(table.entity_set, f"The collection does not take a '{target.logical_name}'.")


def _bind(
    organization: Organization,
    call: Call,
    wanted: Wanted,
    table: Table,
    bind: _Declared,
) -> None:
    name, binding, value = bind
    column = binding.column
    if value is None:
        if organization.switches.bind_null == "refuse" or column.required == "SystemRequired":
            raise errors.odata(table.entity_set, f"The '{name}@odata.bind' annotation may not be null.")
        wanted.values[column.wire] = None
        return
    if not isinstance(value, str):
        raise errors.odata(table.entity_set, f"The '{name}@odata.bind' annotation must be an entity reference.")
    target, record_id = resolve(organization, call, value)
    if target.logical_name not in binding.targets:
        raise errors.odata(
            table.entity_set,
            f"The navigation property '{name}' of '{table.logical_name}' does not take a '{target.logical_name}'.",
        )
    wanted.values[column.wire] = record_id
    wanted.targets[column.wire] = target.logical_name


def resolve(organization: Organization, call: Call, text: str) -> tuple[Table, str]:
    """The row that an entity reference (`/accounts(…)`, a URL, or `$1`) names. Raises 404 when it is not there."""
    if text.startswith("$"):
        entity = call.references.get(text[1:])
        if entity is None:
            raise errors.batch(f"Content-ID Reference: '{text}' does not exist in the batch context.")
        text = entity
    usual = keys.by_id(organization.schema, text.removeprefix("/"))
    if usual is not None and organization.row(*usual) is not None:
        return usual
    target, key_text = keys.reference(organization.schema, text)
    record_id, _ = organization.existing(target, organization.key(target, key_text))
    return target, record_id


def _check_required(table: Table, wanted: Wanted, *, creating: bool) -> None:
    for column in table.columns.values():
        if column.required != "ApplicationRequired":
            continue
        given = column.wire in wanted.values
        if (given or creating) and wanted.values.get(column.wire) is None:
            raise errors.required(table.logical_name, column.name)
