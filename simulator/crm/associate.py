"""Rows of an intersect table: made and taken away by associating two rows, never by themselves."""

from simulator import errors
from simulator.crm.call import Call
from simulator.crm.organization import Organization
from simulator.crm.stamps import stamp_new
from simulator.schema import Table
from simulator.schema.model import Association
from simulator.store import Row

Pair = tuple[str, str]


def _found(organization: Organization, held: Association, pair: Pair) -> str | None:
    own, other = pair
    rows = organization.store.table(held.intersect)
    return next(
        (
            key
            for key in organization.store.matching(held.intersect, held.own.column, own)
            if rows[key].values[held.other.column] == other
        ),
        None,
    )


def _allow(organization: Organization, call: Call, held: Association) -> None:
    """Associating needs to write one side and to read the other, in the words of the service: append and append to."""
    organization.allow(call, "write", organization.schema.by_name[held.own.table])
    organization.allow(call, "read", organization.schema.by_name[held.other.table])


def associate(organization: Organization, call: Call, held: Association, pair: Pair) -> None:
    """Put two rows together. Raises the refusal of a duplicate when they are."""
    _allow(organization, call, held)
    table: Table = organization.schema.by_name[held.intersect]
    if _found(organization, held, pair) is not None:
        raise errors.duplicate()
    record_id = organization.ids()
    values = {
        **table.template, table.primary_id: record_id, held.own.column: pair[0],
        held.other.column: pair[1],
    }  # fmt: skip
    targets: dict[str, str] = {}
    stamp_new(organization, call, table, values, targets)
    version = organization.store.next_version()
    values["versionnumber"] = version
    values["statecode"], values["statuscode"] = table.states[0].value, table.states[0].default_status
    row = Row(values, targets, version)
    organization.store.put(table.logical_name, record_id, row)
    organization.record(call, "create", (table.logical_name, record_id, ""), (None, row))


def disassociate(organization: Organization, call: Call, held: Association, pair: Pair) -> None:
    """Take two rows apart; nothing happens to rows that are not together."""
    _allow(organization, call, held)
    record_id = _found(organization, held, pair)
    if record_id is not None:
        remove(organization, call, held.intersect, record_id)


def remove(organization: Organization, call: Call, intersect: str, record_id: str) -> None:
    row = organization.store.get(intersect, record_id)
    organization.store.remove(intersect, record_id)
    organization.record(call, "delete", (intersect, record_id, ""), (row, None))


def release(organization: Organization, call: Call, table: Table, record_id: str) -> None:
    """A row is gone: so are its associations."""
    for (name, _), held in organization.schema.associations.items():
        if name == table.logical_name:
            for key in list(organization.store.matching(held.intersect, held.own.column, record_id)):
                remove(organization, call, held.intersect, key)
