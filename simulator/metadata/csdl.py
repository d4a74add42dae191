"""`$metadata`: the tables as a CSDL document."""

from xml.sax.saxutils import quoteattr

from simulator.crm.organization import Organization
from simulator.schema import Table

_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>'
    '<Schema Namespace="Microsoft.Dynamics.CRM" Alias="mscrm" xmlns="http://docs.oasis-open.org/odata/ns/edm">'
    '<EntityType Name="crmbaseentity" Abstract="true" />'
)
_TAIL = "</Schema></edmx:DataServices></edmx:Edmx>"


def document(organization: Organization) -> bytes:
    """The whole document, UTF-8."""
    tables = list(organization.schema)
    types = "".join(_entity_type(organization, table) for table in tables)
    sets = "".join(_entity_set(organization, table) for table in tables)
    return f'{_HEAD}{types}<EntityContainer Name="System">{sets}</EntityContainer>{_TAIL}'.encode()


def _entity_type(organization: Organization, table: Table) -> str:
    key = f"<Key><PropertyRef Name={quoteattr(table.primary_id)} /></Key>"
    properties = "".join(
        f"<Property Name={quoteattr(column.wire)} Type={quoteattr(column.edm)}"
        f"{'' if column.name != table.primary_id else ' Nullable=' + quoteattr('false')} />"
        for column in table.columns.values()
    )
    single = "".join(
        f'<NavigationProperty Name={quoteattr(name)} Type="mscrm.{lookup.target}">'
        f"<ReferentialConstraint Property={quoteattr(column.wire)} "
        f"ReferencedProperty={quoteattr(_id_of(organization, lookup.target))} />"
        "</NavigationProperty>"
        for name, (column, lookup) in table.navigation.items()
    )
    many = "".join(
        f'<NavigationProperty Name={quoteattr(lookup.collection)} Type="Collection(mscrm.{child.logical_name})" />'
        for child, _, lookup in organization.schema.referencing.get(table.logical_name, ())
    )
    alternate = "".join(_alternate_key(table, columns) for columns in organization.keys_of(table).values())
    return (
        f'<EntityType Name={quoteattr(table.logical_name)} BaseType="mscrm.crmbaseentity">'
        f"{key}{properties}{single}{many}{alternate}</EntityType>"
    )


def _alternate_key(table: Table, columns: tuple[str, ...]) -> str:
    parts = "".join(
        '<Record Type="OData.Community.Keys.V1.PropertyRef">'
        f'<PropertyValue Property="Name" PropertyPath={quoteattr(table.columns[name].wire)} />'
        f'<PropertyValue Property="Alias" String={quoteattr(table.columns[name].wire)} /></Record>'
        for name in columns
    )
    return (
        '<Annotation Term="OData.Community.Keys.V1.AlternateKeys"><Collection><Record'
        ' Type="OData.Community.Keys.V1.AlternateKey"><PropertyValue Property="Key"><Collection>'
        f"{parts}</Collection></PropertyValue></Record></Collection></Annotation>"
    )


def _id_of(organization: Organization, name: str) -> str:
    table = organization.schema.by_name.get(name)
    return table.primary_id if table else f"{name}id"


def _entity_set(organization: Organization, table: Table) -> str:
    bindings = "".join(
        f"<NavigationPropertyBinding Path={quoteattr(name)} "
        f"Target={quoteattr(organization.schema.by_name[lookup.target].entity_set)} />"
        for name, (_, lookup) in table.navigation.items()
        if lookup.target in organization.schema.by_name
    )
    return (
        f"<EntitySet Name={quoteattr(table.entity_set)} EntityType={quoteattr('mscrm.' + table.logical_name)}>"
        f"{bindings}</EntitySet>"
    )
