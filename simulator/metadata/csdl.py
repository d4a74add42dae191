"""`$metadata`: tables, functions and actions as a CSDL document.

Users and teams derive from `principal`, whose key they share; activities from `activitypointer`, which declares what
all of them have. The types of metadata itself (`EntityMetadata` and the like) are left out.
"""

from xml.sax.saxutils import quoteattr

from simulator.crm.organization import Organization
from simulator.crm.shape import PRINCIPALS
from simulator.query.predicate import FUNCTIONS
from simulator.schema import Column, Kind, Table
from simulator.webapi.actions import BULK, supports

_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>'
    '<Schema Namespace="Microsoft.Dynamics.CRM" Alias="mscrm" xmlns="http://docs.oasis-open.org/odata/ns/edm">'
    '<EntityType Name="crmbaseentity" Abstract="true" />'
    '<EntityType Name="principal" BaseType="mscrm.crmbaseentity"><Key><PropertyRef Name="ownerid" /></Key>'
    '<Property Name="ownerid" Type="Edm.Guid" Nullable="false" /></EntityType>'
)
_TAIL = "</Schema></edmx:DataServices></edmx:Edmx>"
_POINTER = "activitypointer"
_FIXED = (
    '<ComplexType Name="WhoAmIResponse"><Property Name="BusinessUnitId" Type="Edm.Guid" Nullable="false" />'
    '<Property Name="UserId" Type="Edm.Guid" Nullable="false" />'
    '<Property Name="OrganizationId" Type="Edm.Guid" Nullable="false" /></ComplexType>'
    '<ComplexType Name="RetrieveVersionResponse"><Property Name="Version" Type="Edm.String" /></ComplexType>'
    '<ComplexType Name="EntityRecordCountCollection"><Property Name="Count" Type="Edm.Int32" Nullable="false" />'
    '<Property Name="IsReadOnly" Type="Edm.Boolean" Nullable="false" />'
    '<Property Name="Keys" Type="Collection(Edm.String)" />'
    '<Property Name="Values" Type="Collection(Edm.Int64)" Nullable="false" /></ComplexType>'
    '<ComplexType Name="RetrieveTotalRecordCountResponse">'
    '<Property Name="EntityRecordCountCollection" Type="mscrm.EntityRecordCountCollection" /></ComplexType>'
    '<ComplexType Name="CreateMultipleResponse"><Property Name="Ids" Type="Collection(Edm.Guid)" Nullable="false" />'
    "</ComplexType>"
    '<ComplexType Name="BulkDeleteResponse"><Property Name="JobId" Type="Edm.Guid" Nullable="false" /></ComplexType>'
    '<Function Name="WhoAmI"><ReturnType Type="mscrm.WhoAmIResponse" Nullable="false" /></Function>'
    '<Function Name="RetrieveVersion"><ReturnType Type="mscrm.RetrieveVersionResponse" Nullable="false" /></Function>'
    '<Function Name="RetrieveTotalRecordCount">'
    '<Parameter Name="EntityNames" Type="Collection(Edm.String)" Unicode="false" />'
    '<ReturnType Type="mscrm.RetrieveTotalRecordCountResponse" Nullable="false" /></Function>'
    '<Action Name="BulkDelete"><Parameter Name="JobName" Type="Edm.String" Nullable="false" Unicode="false" />'
    '<ReturnType Type="mscrm.BulkDeleteResponse" Nullable="false" /></Action>'
)
_IMPORTS = (
    '<FunctionImport Name="WhoAmI" Function="mscrm.WhoAmI" />'
    '<FunctionImport Name="RetrieveVersion" Function="mscrm.RetrieveVersion" />'
    '<FunctionImport Name="RetrieveTotalRecordCount" Function="mscrm.RetrieveTotalRecordCount" />'
    '<ActionImport Name="BulkDelete" Action="mscrm.BulkDelete" />'
)


def document(organization: Organization) -> bytes:
    """The whole document, UTF-8."""
    tables = list(organization.schema)
    types = "".join(_entity_type(organization, table) for table in tables)
    messages = "".join(_messages(organization, table) for table in tables)
    sets = "".join(_entity_set(organization, table) for table in tables)
    functions = "".join(_query_function(name, operator) for name, operator in FUNCTIONS.items())
    container = f'<EntityContainer Name="System">{sets}{_IMPORTS}</EntityContainer>'
    return f"{_HEAD}{types}{_FIXED}{functions}{messages}{container}{_TAIL}".encode()


def _base_of(organization: Organization, table: Table) -> Table | None:
    """The table whose type an activity's derives from."""
    pointer = organization.schema.by_name.get(_POINTER)
    derives = pointer is not None and table.activity and table is not pointer
    return pointer if derives else None


def _entity_type(organization: Organization, table: Table) -> str:
    base = _base_of(organization, table)
    known = {column.wire: column.edm for column in base.columns.values()} if base else {}
    columns = [column for column in table.columns.values() if known.get(column.wire) != column.edm]
    key = f"<Key><PropertyRef Name={quoteattr(table.primary_id)} /></Key>"
    parent = "crmbaseentity"
    if base is not None:
        key, parent = "", base.logical_name
    elif table.logical_name in PRINCIPALS:
        key, parent = "", "principal"
    properties = "".join(_property(table, column) for column in columns)
    navigation = _single(organization, table, base) + _many(organization, table)
    alternate = "".join(_alternate_key(table, names) for names in organization.keys_of(table).values())
    return (
        f'<EntityType Name={quoteattr(table.logical_name)} BaseType="mscrm.{parent}">'
        f"{key}{properties}{navigation}{alternate}</EntityType>"
    )


def _property(table: Table, column: Column) -> str:
    required = ' Nullable="false"' if column.name == table.primary_id else ""
    text = ' Unicode="false"' if column.edm == "Edm.String" else ""
    scale = ' Scale="Variable"' if column.kind in {Kind.DECIMAL, Kind.MONEY} else ""
    return f"<Property Name={quoteattr(column.wire)} Type={quoteattr(column.edm)}{required}{text}{scale} />"


def _single(organization: Organization, table: Table, base: Table | None) -> str:
    inherited = base.navigation.keys() if base else set()
    return "".join(
        f"<NavigationProperty Name={quoteattr(name)} Type={quoteattr(f'mscrm.{_target(column, lookup.target)}')}"
        f"{_partner(column, lookup.collection)}>"
        f"<ReferentialConstraint Property={quoteattr(column.wire)} "
        f"ReferencedProperty={quoteattr(_referenced(organization, column, lookup.target))} />"
        "</NavigationProperty>"
        for name, (column, lookup) in table.navigation.items()
        if name not in inherited
    )


def _target(column: Column, target: str) -> str:
    return "principal" if column.kind is Kind.OWNER else target


def _partner(column: Column, collection: str) -> str:
    return "" if column.kind is Kind.OWNER else f" Partner={quoteattr(collection)}"


def _referenced(organization: Organization, column: Column, target: str) -> str:
    if column.kind is Kind.OWNER:
        return "ownerid"
    table = organization.schema.by_name.get(target)
    return table.primary_id if table else f"{target}id"


def _many(organization: Organization, table: Table) -> str:
    one_to_many = "".join(
        f'<NavigationProperty Name={quoteattr(lookup.collection)} Type="Collection(mscrm.{child.logical_name})"'
        f"{'' if column.kind is Kind.OWNER else f' Partner={quoteattr(lookup.navigation)}'} />"
        for child, column, lookup in organization.schema.referencing.get(table.logical_name, ())
    )
    many_to_many = "".join(
        f"<NavigationProperty Name={quoteattr(name)} Type={quoteattr(f'Collection(mscrm.{held.other.table})')}"
        f" Partner={quoteattr(held.other.navigation)} />"
        for (own, name), held in organization.schema.associations.items()
        if own == table.logical_name
    )
    return one_to_many + many_to_many


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


def _query_function(name: str, operator: str) -> str:
    if operator.endswith("and-year"):
        given = [("PropertyValue1", "Edm.Int64"), ("PropertyValue2", "Edm.Int64")]
    elif operator in {"in", "not-in", "between", "not-between", "contain-values", "not-contain-values"}:
        given = [("PropertyValues", "Collection(Edm.String)")]
    elif "-x-" in operator or operator in {"in-fiscal-year", "in-fiscal-period"}:
        given = [("PropertyValue", "Edm.Int64")]
    elif operator.startswith("on") or operator.endswith(("above", "under")):
        given = [("PropertyValue", "Edm.String")]
    else:
        given = []
    parameters = "".join(
        f'<Parameter Name="{parameter}" Type="{kind}" Nullable="false" />'
        for parameter, kind in [("PropertyName", "Edm.String"), *given]
    )
    return f'<Function Name="{name}">{parameters}<ReturnType Type="Edm.Boolean" Nullable="false" /></Function>'


def _messages(organization: Organization, table: Table) -> str:
    """The bulk messages of a table, bound to its set."""
    collection = quoteattr(f"Collection(mscrm.{table.logical_name})")
    returned = '<ReturnType Type="mscrm.CreateMultipleResponse" Nullable="false" />'
    return "".join(
        f'<Action Name="{message}" IsBound="true"><Parameter Name="entityset" Type={collection} Nullable="false" />'
        f'<Parameter Name="Targets" Type={collection} Nullable="false" />'
        f"{returned if message == 'CreateMultiple' else ''}</Action>"
        for message in sorted(BULK)
        if supports(organization, table, message)
    )


def _entity_set(organization: Organization, table: Table) -> str:
    schema = organization.schema
    targets = [
        (name, lookup.target) for name, (column, lookup) in table.navigation.items() if column.kind is not Kind.OWNER
    ]
    targets += [
        (lookup.collection, child.logical_name) for child, _, lookup in schema.referencing.get(table.logical_name, ())
    ]
    targets += [
        (name, held.other.table) for (own, name), held in schema.associations.items() if own == table.logical_name
    ]
    bindings = "".join(
        f"<NavigationPropertyBinding Path={quoteattr(name)} Target={quoteattr(schema.by_name[target].entity_set)} />"
        for name, target in targets
        if target in schema.by_name
    )
    return (
        f"<EntitySet Name={quoteattr(table.entity_set)} EntityType={quoteattr('mscrm.' + table.logical_name)}>"
        f"{bindings}</EntitySet>"
    )
