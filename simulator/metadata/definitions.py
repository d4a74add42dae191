"""Tables, columns, keys and relationships as metadata objects.

Option sets are under navigation properties: they are in the object here, and shown only with `$expand`.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from simulator.schema import Column, Kind, Lookup, Option, Schema, Table

Json = dict[str, Any]
CRM = "Microsoft.Dynamics.CRM."
_SPACE = uuid.UUID("9f8d3c1e-2b64-4d0a-9a53-0c7e5f1b2a90")

_TYPE_NAME = {
    Kind.STRING: "StringType",
    Kind.MEMO: "MemoType",
    Kind.INTEGER: "IntegerType",
    Kind.BIGINT: "BigIntType",
    Kind.DECIMAL: "DecimalType",
    Kind.DOUBLE: "DoubleType",
    Kind.MONEY: "MoneyType",
    Kind.BOOLEAN: "BooleanType",
    Kind.PICKLIST: "PicklistType",
    Kind.DATETIME: "DateTimeType",
    Kind.GUID: "UniqueidentifierType",
    Kind.LOOKUP: "LookupType",
    Kind.OWNER: "OwnerType",
    Kind.STATE: "StateType",
    Kind.STATUS: "StatusType",
    Kind.ENTITY_NAME: "EntityNameType",
    Kind.VIRTUAL: "VirtualType",
}
_CLASS = {
    Kind.GUID: "UniqueIdentifierAttributeMetadata",
    Kind.OWNER: "LookupAttributeMetadata",
    Kind.DATETIME: "DateTimeAttributeMetadata",
    Kind.BIGINT: "BigIntAttributeMetadata",
    Kind.ENTITY_NAME: "EntityNameAttributeMetadata",
    Kind.VIRTUAL: "AttributeMetadata",
}
_PARTIES = frozenset({"account", "contact", "systemuser"})
NAVIGATION = ("OptionSet", "GlobalOptionSet")


def metadata_id(*parts: str) -> str:
    """The same thing has the same id in every run."""
    return str(uuid.uuid5(_SPACE, "/".join(parts)))


def class_of(column: Column) -> str:
    """The metadata type of a column, without its namespace."""
    return _CLASS.get(column.kind, f"{column.kind.value}AttributeMetadata")


def label(text: str) -> Json:
    localized = {
        "Label": text,
        "LanguageCode": 1033,
        "IsManaged": False,
        "MetadataId": metadata_id("label", text),
        "HasChanged": None,
    }
    return {"LocalizedLabels": [localized], "UserLocalizedLabel": localized}


def managed(value: Any, name: str) -> Json:
    return {"Value": value, "CanBeChanged": True, "ManagedPropertyLogicalName": name}


def entity(table: Table) -> Json:
    return {
        "MetadataId": metadata_id(table.logical_name),
        "LogicalName": table.logical_name,
        "SchemaName": table.schema_name,
        "EntitySetName": table.entity_set,
        "LogicalCollectionName": table.entity_set,
        "CollectionSchemaName": table.entity_set,
        "DisplayName": label(table.label),
        "DisplayCollectionName": label(f"{table.label}s"),
        "Description": label(""),
        "PrimaryIdAttribute": table.primary_id,
        "PrimaryNameAttribute": table.primary_name,
        "PrimaryImageAttribute": None,
        "ObjectTypeCode": table.type_code,
        "OwnershipType": "UserOwned" if table.user_owned else "None",
        "TableType": "Standard",
        "IsActivity": table.activity,
        "IsCustomEntity": table.custom,
        "IsManaged": False,
        "IsPrivate": False,
        "IsIntersect": table.intersect is not None,
        "IsLogicalEntity": False,
        "IsActivityParty": table.logical_name in _PARTIES,
        "IsAvailableOffline": True,
        "IsChildEntity": False,
        "IsAIRUpdated": False,
        "IsBPFEntity": False,
        "IsBusinessProcessEnabled": False,
        "IsDocumentManagementEnabled": False,
        "IsDocumentRecommendationsEnabled": False,
        "IsEnabledForCharts": True,
        "IsEnabledForExternalChannels": False,
        "IsEnabledForTrace": False,
        "IsImportable": True,
        "IsInteractionCentricEnabled": True,
        "IsKnowledgeManagementEnabled": False,
        "IsOneNoteIntegrationEnabled": False,
        "IsQuickCreateEnabled": False,
        "IsReadingPaneEnabled": True,
        "IsSLAEnabled": False,
        "IsStateModelAware": True,
        "IsSolutionAware": False,
        "IsVisibleInMobileClient": managed(value=True, name="canmodifymobileclientvisibility"),
        "IsConnectionsEnabled": managed(value=True, name="canmodifyconnectionsettings"),
        "IsDuplicateDetectionEnabled": managed(value=False, name="canmodifyduplicatedetectionsettings"),
        "IsMailMergeEnabled": managed(value=True, name="canmodifymailmergesettings"),
        "IsValidForQueue": managed(value=table.activity, name="canmodifyqueuesettings"),
        "CanCreateAttributes": managed(value=True, name="cancreateattributes"),
        "CanCreateForms": managed(value=True, name="cancreateforms"),
        "CanCreateViews": managed(value=True, name="cancreateviews"),
        "CanCreateCharts": managed(value=True, name="cancreatecharts"),
        "CanBeRelatedEntityInRelationship": managed(value=True, name="canberelatedentityinrelationship"),
        "CanBePrimaryEntityInRelationship": managed(value=True, name="canbeprimaryentityinrelationship"),
        "CanBeInManyToMany": managed(value=not table.activity, name="canbeinmanytomany"),
        "CanTriggerWorkflow": True,
        "HasActivities": not table.activity,
        "HasNotes": False,
        "HasFeedback": False,
        "AutoCreateAccessTeams": False,
        "EntityColor": None,
        "IntroducedVersion": "1.0.0.0",
        "ReportViewName": f"Filtered{table.schema_name}",
        "DataProviderId": None,
        "DataSourceId": None,
        "DaysSinceRecordLastModified": 0,
        "EntityHelpUrl": None,
        "EntityHelpUrlEnabled": False,
        "ExternalName": None,
        "ExternalCollectionName": None,
        "MobileOfflineFilters": None,
        "RecurrenceBaseEntityLogicalName": None,
        "SyncToExternalSearchIndex": False,
        "UsesBusinessDataLabelTable": False,
        "IconVectorName": None,
        "HasChanged": None,
        "IsOptimisticConcurrencyEnabled": table.optimistic_concurrency,
        "IsValidForAdvancedFind": True,
        "ChangeTrackingEnabled": False,
        "IsCustomizable": managed(value=True, name="iscustomizable"),
        "IsAuditEnabled": managed(value=False, name="canmodifyauditsettings"),
        "Privileges": privileges(table),
    }


PRIVILEGE_TYPES = ("Create", "Read", "Write", "Delete", "Append", "AppendTo", "Assign", "Share")


def privileges(table: Table) -> list[Json]:
    """Those that a security role grants on a table. Rows without an owner cannot be assigned or shared."""
    types = PRIVILEGE_TYPES if table.user_owned else PRIVILEGE_TYPES[:6]
    return [
        {
            "CanBeBasic": table.user_owned,
            "CanBeDeep": table.user_owned,
            "CanBeGlobal": True,
            "CanBeLocal": table.user_owned,
            "CanBeEntityReference": False,
            "CanBeParentEntityReference": False,
            "Name": f"prv{each}{table.logical_name.capitalize()}",
            "PrivilegeId": metadata_id(table.logical_name, "privilege", each),
            "PrivilegeType": each,
        }
        for each in types
    ]


def attribute(table: Table, column: Column) -> Json:
    """One column: what all types have, what its type adds, and its option set."""
    primary = column.name in (table.primary_id, table.primary_name)
    common: Json = {
        "@odata.type": f"#{CRM}{class_of(column)}",
        "MetadataId": metadata_id(table.logical_name, column.name),
        "LogicalName": column.name,
        "SchemaName": column.schema_name,
        "EntityLogicalName": table.logical_name,
        "AttributeOf": column.attribute_of,
        "AttributeType": column.kind.value,
        "AttributeTypeName": {"Value": _TYPE_NAME[column.kind]},
        "ColumnNumber": list(table.columns).index(column.name) + 1,
        "DisplayName": label(column.label),
        "Description": label(""),
        "IsCustomAttribute": "_" in column.name,
        "IsPrimaryId": column.name == table.primary_id,
        "IsPrimaryName": column.name == table.primary_name,
        "IsValidForCreate": column.creatable,
        "IsValidForUpdate": column.updatable,
        "IsValidForRead": True,
        "IsValidForAdvancedFind": managed(value=True, name="canmodifysearchsettings"),
        "IsSecured": column.secured,
        "CanBeSecuredForCreate": not primary,
        "CanBeSecuredForRead": not primary,
        "CanBeSecuredForUpdate": not primary,
        "SourceType": column.source,
        "IsManaged": False,
        "IsLogical": False,
        "IsCustomizable": managed(value=not primary, name="iscustomizable"),
        "RequiredLevel": managed(value=column.required, name="canmodifyrequirementlevelsettings"),
    }
    return common | _own(table, column)


OWN = frozenset(
    {
        "MaxLength", "Format", "FormatName", "MinValue", "MaxValue", "Precision", "DateTimeBehavior",
        "CanChangeDateTimeBehavior", "Targets", "DefaultValue", "DefaultFormValue", *NAVIGATION,
    }
)  # fmt: skip


def _own(table: Table, column: Column) -> Json:
    """The properties that only this type of column has."""
    match column.kind:
        case Kind.STRING | Kind.MEMO:
            return {
                "MaxLength": column.max_length,
                "Format": column.text_format,
                "FormatName": {"Value": column.text_format},
            }
        case Kind.INTEGER | Kind.BIGINT:
            shown = {"MinValue": int(column.minimum or 0), "MaxValue": int(column.maximum or 0)}
            return shown if column.kind is Kind.BIGINT else {**shown, "Format": column.text_format}
        case Kind.DECIMAL | Kind.MONEY | Kind.DOUBLE:
            return {"MinValue": column.minimum, "MaxValue": column.maximum, "Precision": column.precision}
        case Kind.DATETIME:
            return {
                "Format": column.text_format,
                "DateTimeBehavior": {"Value": column.behavior},
                "CanChangeDateTimeBehavior": managed(value=False, name="canmodifybehavior"),
            }
        case Kind.LOOKUP | Kind.OWNER:
            return {"Targets": [lookup.target for lookup in column.lookups], "Format": "None"}
        case Kind.BOOLEAN:
            return {
                "DefaultValue": bool(column.default),
                "OptionSet": _two_options(table, column),
                "GlobalOptionSet": None,
            }
        case Kind.PICKLIST | Kind.STATE | Kind.STATUS:
            default = -1 if column.default is None else column.default
            return {"DefaultFormValue": default, "OptionSet": _option_set(table, column), "GlobalOptionSet": None}
        case _:
            return {}


def _option(table: Table, column: Column, option: Option) -> Json:
    shown: Json = {
        "Value": option.value,
        "Color": "",
        "IsManaged": False,
        "ExternalValue": "",
        "ParentValues": [],
        "Tag": None,
        "IsHidden": False,
        "MetadataId": None,
        "HasChanged": None,
        "Label": label(option.label),
        "Description": {"LocalizedLabels": [], "UserLocalizedLabel": None},
    }
    if column.kind is Kind.STATE:
        shown |= {
            "@odata.type": f"#{CRM}StateOptionMetadata",
            "DefaultStatus": table.default_status.get(option.value),
            "InvariantName": option.label,
        }
    if column.kind is Kind.STATUS:
        shown |= {"@odata.type": f"#{CRM}StatusOptionMetadata", "State": option.state, "TransitionData": None}
    return shown


def _option_set(table: Table, column: Column) -> Json:
    return {
        "MetadataId": metadata_id(table.logical_name, column.name, "options"),
        "Name": f"{table.logical_name}_{column.name}",
        "IsGlobal": False,
        "IsCustomOptionSet": table.custom,
        "IsManaged": False,
        "OptionSetType": column.kind.value,
        "DisplayName": label(column.label),
        "Options": [_option(table, column, option) for option in column.options],
    }


def _two_options(table: Table, column: Column) -> Json:
    labels = {option.value: option.label for option in column.options}
    return {
        "MetadataId": metadata_id(table.logical_name, column.name, "options"),
        "Name": f"{table.logical_name}_{column.name}",
        "IsGlobal": False,
        "OptionSetType": "Boolean",
        "TrueOption": _option(table, column, Option(1, labels.get(1, "Yes"))),
        "FalseOption": _option(table, column, Option(0, labels.get(0, "No"))),
    }


def keys(table: Table, in_force: Mapping[str, tuple[str, ...]]) -> list[Json]:
    return [
        {
            "MetadataId": metadata_id(table.logical_name, "key", name),
            "LogicalName": name,
            "SchemaName": name,
            "EntityLogicalName": table.logical_name,
            "DisplayName": label(name),
            "KeyAttributes": list(columns),
            "EntityKeyIndexStatus": "Active",
            "IsManaged": False,
            "AsyncJob": None,
        }
        for name, columns in in_force.items()
    ]


def relationship(schema: Schema, table: Table, column: Column, lookup: Lookup) -> Json:
    """One lookup target as a one-to-many relationship."""
    target = schema.by_name.get(lookup.target)
    return {
        "@odata.type": f"#{CRM}OneToManyRelationshipMetadata",
        "MetadataId": metadata_id("relationship", lookup.schema_name),
        "SchemaName": lookup.schema_name,
        "RelationshipType": "OneToManyRelationship",
        "ReferencedAttribute": target.primary_id if target else f"{lookup.target}id",
        "ReferencedEntity": lookup.target,
        "ReferencedEntityNavigationPropertyName": lookup.collection,
        "ReferencingAttribute": column.name,
        "ReferencingEntity": table.logical_name,
        "ReferencingEntityNavigationPropertyName": lookup.navigation,
        "IsCustomRelationship": "_" in column.name,
        "IsManaged": False,
        "IsHierarchical": False,
        "IsValidForAdvancedFind": True,
        "SecurityTypes": "Append",
        "CascadeConfiguration": {
            "Assign": "NoCascade",
            "Delete": lookup.on_delete,
            "Merge": "NoCascade",
            "Reparent": "NoCascade",
            "Share": "NoCascade",
            "Unshare": "NoCascade",
        },
    }


def intersection(table: Table) -> Json:
    """A many-to-many relationship, from its intersect table."""
    held = table.intersect
    if held is None:
        raise TypeError(table.logical_name)
    shown: Json = {
        "@odata.type": f"#{CRM}ManyToManyRelationshipMetadata",
        "MetadataId": metadata_id("relationship", held.schema_name),
        "SchemaName": held.schema_name,
        "RelationshipType": "ManyToManyRelationship",
        "IntersectEntityName": table.logical_name,
        "IsCustomRelationship": table.custom,
        "IsManaged": False,
        "IsValidForAdvancedFind": True,
        "SecurityTypes": "None",
    }
    for number, end in enumerate((held.first, held.second), 1):
        shown |= {
            f"Entity{number}LogicalName": end.table,
            f"Entity{number}IntersectAttribute": end.column,
            f"Entity{number}NavigationPropertyName": end.navigation,
        }
    return shown


def many_to_many(schema: Schema, table: Table) -> list[Json]:
    return [
        intersection(other)
        for other in schema
        if other.intersect and table.logical_name in (other.intersect.first.table, other.intersect.second.table)
    ]


def many_to_one(schema: Schema, table: Table) -> list[Json]:
    return [
        relationship(schema, table, column, lookup) for column in table.columns.values() for lookup in column.lookups
    ]


def one_to_many(schema: Schema, table: Table) -> list[Json]:
    return [
        relationship(schema, child, column, lookup)
        for child, column, lookup in schema.referencing.get(table.logical_name, ())
    ]
