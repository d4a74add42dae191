"""Tables, columns, keys and relationships made over the Web API: what is refused."""

import json
from typing import Any

import httpx
import pytest

from simulator import tenant
from simulator.testing import RunningSimulator
from tests.contract.simulator.support import error_of

ITEM = "EntityDefinitions(LogicalName='medx_callqueueitem')"
CRM = "Microsoft.Dynamics.CRM."


def column(schema_name: Any, kind: str = "String", **more: Any) -> Any:
    return {"@odata.type": f"{CRM}{kind}AttributeMetadata", "SchemaName": schema_name, **more}


def table(schema_name: Any, *columns: Any) -> Any:
    return {"Entities": [{"SchemaName": schema_name, "Attributes": list(columns)}]}


NAME = column("new_Name", IsPrimaryName=True)
ONE_TO_MANY = "Microsoft.Dynamics.CRM.OneToManyRelationshipMetadata"


@pytest.mark.parametrize(
    "payload",
    [
        table("Ticket", NAME), table("medx_CallQueueItem", NAME), table("new_Ticket"),
        table("new_Ticket", column("new_x")),
        table("new_Ticket", NAME, column("new_File", "File")), table("new_Ticket", NAME, column("", "String")),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_is_refused(client: httpx.Client, payload: Any) -> None:
    assert client.post("CreateEntities", json=payload).status_code == 400
    assert client.get("EntityDefinitions(LogicalName='new_ticket')").status_code == 404


@pytest.mark.parametrize("name", ["new_box", "new_match", "new_glass"])
def test_sets_are_plurals(client: httpx.Client, name: str) -> None:
    client.post("CreateEntities", json=table(name, NAME))
    assert client.get(f"EntityDefinitions(LogicalName='{name}')").json()["EntitySetName"] == f"{name}es"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "EntityDefinitions(LogicalName='account')", None),
        ("POST", f"{ITEM}/Attributes", column("medx_Notes")),
        ("POST", f"{ITEM}/Attributes", column("medx_Photo", "Image")),
        ("PUT", f"{ITEM}/Attributes(LogicalName='medx_notes')", column("medx_Notes", "Integer")),
        ("DELETE", f"{ITEM}/Attributes(LogicalName='createdon')", None),
        ("DELETE", f"{ITEM}/Attributes(LogicalName='medx_name')", None),
        ("DELETE", f"{ITEM}/Attributes(LogicalName='medx_externalid')", None),
        ("POST", f"{ITEM}/Keys", {"SchemaName": "k", "KeyAttributes": ["nosuch"]}),
        ("POST", f"{ITEM}/Keys", {"SchemaName": "k", "KeyAttributes": []}),
        ("POST", "RelationshipDefinitions", {"@odata.type": f"{CRM}ManyToManyRelationshipMetadata", "SchemaName": "x"}),
        (
            "POST",
            "RelationshipDefinitions",
            {
                "@odata.type": f"{CRM}OneToManyRelationshipMetadata",
                "SchemaName": "x",
                "ReferencingEntity": "nosuch",
                "ReferencedEntity": "account",
                "Lookup": {"SchemaName": "new_x"},
            },
        ),
        (
            "POST",
            "RelationshipDefinitions",
            {
                "@odata.type": f"{CRM}OneToManyRelationshipMetadata",
                "SchemaName": "medx_account_medx_callqueueitem",
                "ReferencingEntity": "medx_callqueueitem",
                "ReferencedEntity": "account",
                "Lookup": {"SchemaName": "new_x"},
            },
        ),
    ],
)
def test_what_cannot_be_changed_is_refused(client: httpx.Client, method: str, path: str, body: Any) -> None:
    before = client.get(f"{ITEM}?$expand=Attributes($select=LogicalName),Keys($select=LogicalName)").json()
    assert client.request(method, path, json=body).status_code == 400
    assert client.get(f"{ITEM}?$expand=Attributes($select=LogicalName),Keys($select=LogicalName)").json() == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "CreateEntities"), ("GET", "BulkDelete"), ("PATCH", ITEM),
        ("POST", "sdkmessagefilters"), ("POST", "$metadata"), ("PATCH", "RelationshipDefinitions"),
        ("PUT", f"{ITEM}/Keys"),
    ],
)  # fmt: skip
def test_wrong_verbs(client: httpx.Client, method: str, path: Any) -> None:
    assert client.request(method, path, json={}).status_code == 405


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("ColumnNumber le 2", 2), ("ColumnNumber lt 2", 1), ("ColumnNumber ge 2 and ColumnNumber le 3", 2),
        ("not (ColumnNumber gt 2)", 2), ("LogicalName in ('medx_name','medx_notes')", 2),
        ("endswith(LogicalName,'notes')", 1),
        ("contains(SchemaName,'CallStatus')", 1), ("LogicalName eq 'medx_name' or LogicalName eq 'medx_notes'", 2),
        ("IsPrimaryId", 1), ("AttributeOf gt 5", 0),
    ],
)  # fmt: skip
def test_more_filters_on_metadata(client: httpx.Client, condition: str, count: int) -> None:
    answer = client.get(f"{ITEM}/Attributes", params={"$select": "LogicalName", "$filter": condition})
    assert len(answer.json()["value"]) == count


@pytest.mark.parametrize("condition", ["Nosuch eq 1", "RequiredLevel/Nosuch eq 1", "length(LogicalName) gt 5", "5"])
def test_filters_on_metadata_that_are_none(client: httpx.Client, condition: str) -> None:
    assert error_of(client.get(f"{ITEM}/Attributes", params={"$filter": condition}))[0] == 400


def test_bulk_delete_of_an_unknown_table(client: httpx.Client) -> None:
    assert client.post("BulkDelete", json={"QuerySet": [{"EntityName": "nosuch"}]}).status_code == 404


def test_rows_of_before_show_a_new_column_as_null_and_not_a_dropped_one(client: httpx.Client) -> None:
    row = client.post("medx_callqueueitems", json={"medx_name": "x", "medx_notes": "y"}).headers["OData-EntityId"]
    client.post(f"{ITEM}/Attributes", json=column("medx_Colour"))
    client.delete(f"{ITEM}/Attributes(LogicalName='medx_notes')")
    shown = client.get(row).json()
    assert shown["medx_colour"] is None
    assert "medx_notes" not in shown


COLUMN = "Microsoft.Dynamics.CRM.StringAttributeMetadata"
ACCOUNT = "EntityDefinitions(LogicalName='account')"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "CreateEntities", {"Entities": 5}),
        ("POST", "CreateEntities", {"Entities": [5]}),
        ("POST", f"{ACCOUNT}/Attributes", {"@odata.type": COLUMN, "SchemaName": "new_Y", "MaxLength": "x"}),
        (
            "PUT",
            f"{ACCOUNT}/Attributes(LogicalName='name')",
            {"@odata.type": COLUMN, "SchemaName": "n", "MaxLength": []},
        ),
        ("POST", f"{ACCOUNT}/Keys", {"SchemaName": "k", "KeyAttributes": 5}),
        ("POST", "RelationshipDefinitions", {"@odata.type": ONE_TO_MANY, "SchemaName": "new_x"}),
        ("POST", "BulkDelete", {"QuerySet": [5]}),
        ("POST", "BulkDelete", {"QuerySet": [{"EntityName": "account", "Criteria": 5}]}),
    ],
    ids=str,
)
def test_a_payload_of_another_shape_is_400_and_changes_nothing(
    client: httpx.Client, method: str, path: str, body: Any
) -> None:
    before = client.get(f"{ACCOUNT}?$expand=Attributes,Keys").json()
    assert error_of(client.request(method, path, json=body)) == (400, "0x80048d19")
    assert client.get(f"{ACCOUNT}?$expand=Attributes,Keys").json() == before


@pytest.mark.parametrize("query", ["x", "[1]", '{"Criteria": 5}', '{"Criteria": {"Conditions": [5]}}'])
def test_a_metadata_query_of_another_shape_is_400(client: httpx.Client, query: str) -> None:
    answer = client.get("RetrieveMetadataChanges(Query=@p1)", params={"@p1": query})
    assert error_of(answer) == (400, "0x80048d19")


@pytest.mark.parametrize(
    "query",
    [
        {"RelationshipQuery": {"Properties": {"AllProperties": True}}},
        {"AttributeQuery": {"LabelQuery": {"FilterLanguages": [1033]}}},
        {"Criteria": {"Filters": [{"Conditions": []}]}},
        {"Criteria": {"FilterOperator": "Or", "Conditions": [{"PropertyName": "x"}, {"PropertyName": "y"}]}},
        {"Properties": {"Nosuch": True}},
    ],
    ids=str,
)
def test_nothing_of_a_metadata_query_is_ignored(client: httpx.Client, query: Any) -> None:
    answer = client.get("RetrieveMetadataChanges(Query=@p1)", params={"@p1": json.dumps(query)})
    assert answer.status_code == 501


def test_a_metadata_query_gets_the_properties_of_tables_that_it_asks_for(client: httpx.Client) -> None:
    query = {
        "Criteria": {"Conditions": [{"PropertyName": "LogicalName", "Value": {"Value": "account"}}]},
        "Properties": {"PropertyNames": ["EntitySetName", "Attributes"]},
        "AttributeQuery": {"Properties": {"PropertyNames": ["MaxLength"]}},
    }
    (found,) = client.get("RetrieveMetadataChanges(Query=@p1)", params={"@p1": json.dumps(query)}).json()[
        "EntityMetadata"
    ]
    assert found["EntitySetName"] == "accounts"
    assert {item["LogicalName"]: item.get("MaxLength") for item in found["Attributes"]}["name"] == 160


ID = {"AttributeName": "accountid", "Operator": "In", "Values": [{"Value": tenant.ACCOUNTS[0]}]}


@pytest.mark.parametrize(
    "more",
    [
        {"LinkEntities": [{"LinkToEntityName": "contact"}]},
        {"TopCount": 1},
        {"Criteria": {"Conditions": [ID], "Filters": [{"Conditions": [ID]}]}},
        {"Criteria": {"Conditions": [ID, {**ID, "Operator": "Equal"}]}},
        {"Criteria": {"Conditions": []}},
        {"Criteria": {"Conditions": [{**ID, "AttributeName": "name"}]}},
    ],
    ids=str,
)
def test_a_bulk_delete_that_chooses_in_another_way_than_it_says_deletes_nothing(
    client: httpx.Client, simulator: RunningSimulator, more: Any
) -> None:
    before = simulator.rows("accounts")
    body = {"QuerySet": [{"EntityName": "account", "Criteria": {"Conditions": [ID]}, **more}]}
    assert client.post("BulkDelete", json=body).status_code == 501
    assert simulator.rows("accounts") == before


@pytest.mark.parametrize("condition", ["ObjectTypeCode gt 'x'", "DisplayName lt 5"])
def test_metadata_compared_with_what_it_cannot_be_compared_with(client: httpx.Client, condition: str) -> None:
    assert error_of(client.get("EntityDefinitions", params={"$filter": condition}))[0] == 400


def _option(value: Any, text: Any) -> Any:
    return {"Value": value, "Label": {"LocalizedLabels": [{"Label": text, "LanguageCode": 1033}]}}


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (column("new_Share", "Decimal", Precision=0, MinValue=0, MaxValue=100), {"precision": 0, "default": None}),
        (
            column(
                "new_Urgency", "Picklist", DefaultFormValue=2,
                OptionSet={"Options": [_option(1, "Low"), _option(2, "High")]},
            ),
            {"default": 2},
        ),
        (
            column(
                "new_Paid", "Boolean", DefaultValue=True,
                OptionSet={"TrueOption": _option(1, "Paid"), "FalseOption": _option(0, "Open")},
            ),
            {"default": True},
        ),
    ],
)  # fmt: skip
def test_nothing_that_a_new_column_says_is_ignored(
    simulator: RunningSimulator, client: httpx.Client, made: Any, wanted: Any
) -> None:
    assert client.post(f"{ITEM}/Attributes", json=made).status_code == 204
    name = made["SchemaName"].lower()
    held = simulator.call(lambda core: core.organization.schema.by_name["medx_callqueueitem"].columns[name])
    assert {key: getattr(held, key) for key in wanted} == wanted
    assert [option.label for option in held.options] == {
        "new_urgency": ["Low", "High"],
        "new_paid": ["Paid", "Open"],
    }.get(name, [])


def test_an_unknown_behavior_of_a_new_time_is_refused(client: httpx.Client) -> None:
    made = column("new_Due", "DateTime", DateTimeBehavior={"Value": "LunarTime"})
    assert client.post(f"{ITEM}/Attributes", json=made).status_code == 400
