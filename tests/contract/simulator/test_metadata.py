"""EntityDefinitions, relationships, $metadata and the functions."""

from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from simulator import tenant
from simulator.testing import RunningSimulator
from tests.contract.simulator.support import error_of

PHONE = "EntityDefinitions(LogicalName='phonecall')"
CRM = "Microsoft.Dynamics.CRM."


def value(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["value"]


def test_the_query_that_a_careful_client_starts_with(client: httpx.Client) -> None:
    answer = client.get(
        f"{PHONE}?$select=LogicalName,EntitySetName,PrimaryIdAttribute,PrimaryNameAttribute,IsOptimisticConcurrencyEnabled"
        "&$expand=Attributes($select=LogicalName,AttributeType,AttributeOf,IsValidForCreate,IsValidForUpdate,RequiredLevel),"
        "Keys($select=LogicalName,KeyAttributes,EntityKeyIndexStatus)"
    )
    body = answer.json()
    assert (body["EntitySetName"], body["PrimaryIdAttribute"], body["PrimaryNameAttribute"]) == (
        "phonecalls",
        "activityid",
        "subject",
    )
    assert body["IsOptimisticConcurrencyEnabled"] is True
    columns = {column["LogicalName"]: column for column in body["Attributes"]}
    assert columns["statecode"]["IsValidForCreate"] is False
    assert columns["subject"]["RequiredLevel"]["Value"] == "ApplicationRequired"
    assert columns["createdon"]["IsValidForUpdate"] is False
    assert body["Keys"] == []


@pytest.mark.parametrize(
    ("table", "entity_set", "key", "name"),
    [
        ("account", "accounts", "accountid", "name"), ("contact", "contacts", "contactid", "fullname"),
        ("task", "tasks", "activityid", "subject"), ("systemuser", "systemusers", "systemuserid", "fullname"),
        ("team", "teams", "teamid", "name"), ("campaign", "campaigns", "campaignid", "name"),
        ("medx_callqueueitem", "medx_callqueueitems", "medx_callqueueitemid", "medx_name"),
        ("activitypointer", "activitypointers", "activityid", "subject"),
    ],
)  # fmt: skip
def test_every_table(client: httpx.Client, table: str, entity_set: str, key: str, name: str) -> None:
    found = client.get(f"EntityDefinitions(LogicalName='{table}')").json()
    assert (found["EntitySetName"], found["PrimaryIdAttribute"], found["PrimaryNameAttribute"]) == (
        entity_set,
        key,
        name,
    )
    by_id = client.get(f"EntityDefinitions({found['MetadataId']})?$select=LogicalName").json()
    assert by_id == {"@odata.context": by_id["@odata.context"], "MetadataId": found["MetadataId"], "LogicalName": table}


@pytest.mark.parametrize(
    ("condition", "tables"),
    [
        ("EntitySetName eq 'tasks'", {"task"}),
        ("LogicalName eq 'account'", {"account"}),
        ("IsActivity eq true", {"phonecall", "task", "activitypointer"}),
        ("IsCustomEntity eq true and IsPrivate eq false", {"medx_callqueueitem"}),
        ("LogicalName eq 'nosuch'", set()),
        ("startswith(SchemaName,'medx_')", {"medx_callqueueitem"}),
        ("ObjectTypeCode le 2", {"account", "contact"}),
    ],
)
def test_filters_on_tables(client: httpx.Client, condition: str, tables: Any) -> None:
    found = value(client.get("EntityDefinitions", params={"$select": "LogicalName", "$filter": condition}))
    assert {item["LogicalName"] for item in found} == tables
    assert all("MetadataId" in item for item in found)


@pytest.mark.parametrize(
    ("cast", "column", "property_", "wanted"),
    [
        ("StringAttributeMetadata", "subject", "MaxLength", 200),
        ("StringAttributeMetadata", "phonenumber", "Format", "Phone"),
        ("MemoAttributeMetadata", "description", "MaxLength", 2000),
        ("IntegerAttributeMetadata", "actualdurationminutes", "MaxValue", 2147483647),
        ("PicklistAttributeMetadata", "prioritycode", "DefaultFormValue", 1),
        ("BooleanAttributeMetadata", "directioncode", "DefaultValue", True),
        ("DateTimeAttributeMetadata", "actualstart", "Format", "DateOnly"),
        ("DateTimeAttributeMetadata", "scheduledend", "Format", "DateAndTime"),
        ("LookupAttributeMetadata", "ownerid", "Targets", ["systemuser", "team"]),
        ("StatusAttributeMetadata", "statuscode", "AttributeType", "Status"),
        ("StateAttributeMetadata", "statecode", "AttributeType", "State"),
        ("UniqueIdentifierAttributeMetadata", "activityid", "IsPrimaryId", True),
    ],
)
def test_a_cast_shows_what_a_type_has_of_its_own(
    client: httpx.Client, cast: str, column: str, property_: str, wanted: Any
) -> None:
    listed = value(client.get(f"{PHONE}/Attributes/{CRM}{cast}?$select=LogicalName,{property_}"))
    assert {item["LogicalName"]: item[property_] for item in listed}[column] == wanted
    one = client.get(f"{PHONE}/Attributes(LogicalName='{column}')/{CRM}{cast}?$select={property_}").json()
    assert one[property_] == wanted


@pytest.mark.parametrize("property_", ["MaxLength", "OptionSet", "Targets", "nosuch"])
def test_without_a_cast_there_is_only_what_all_types_have(client: httpx.Client, property_: str) -> None:
    answer = client.get(f"{PHONE}/Attributes?$select=LogicalName,{property_}")
    assert error_of(answer) == (400, "0x0")


def test_a_cast_to_another_type_is_404(client: httpx.Client) -> None:
    assert client.get(f"{PHONE}/Attributes(LogicalName='subject')/{CRM}PicklistAttributeMetadata").status_code == 404


def test_no_cast_to_enum_attributes(client: httpx.Client) -> None:
    assert client.get(f"{PHONE}/Attributes/{CRM}EnumAttributeMetadata").status_code == 400


class TestOptionSets:
    def options(self, client: httpx.Client, cast: Any, column: Any) -> Any:
        url = f"{PHONE}/Attributes(LogicalName='{column}')/{CRM}{cast}?$select=LogicalName&$expand=OptionSet"
        return client.get(url).json()["OptionSet"]

    def test_only_with_expand(self, client: httpx.Client) -> None:
        plain = client.get(f"{PHONE}/Attributes(LogicalName='prioritycode')/{CRM}PicklistAttributeMetadata").json()
        assert "OptionSet" not in plain
        assert "GlobalOptionSet" not in plain

    def test_picklist(self, client: httpx.Client) -> None:
        found = self.options(client, "PicklistAttributeMetadata", "prioritycode")
        labels = {item["Value"]: item["Label"]["UserLocalizedLabel"]["Label"] for item in found["Options"]}
        assert labels == {0: "Low", 1: "Normal", 2: "High"}
        assert (found["IsGlobal"], found["OptionSetType"]) == (False, "Picklist")
        assert found["Options"][0]["Label"]["LocalizedLabels"][0]["LanguageCode"] == 1033

    def test_status_options_name_their_state(self, client: httpx.Client) -> None:
        found = self.options(client, "StatusAttributeMetadata", "statuscode")
        assert {item["Value"]: item["State"] for item in found["Options"]} == {1: 0, 2: 1, 4: 1, 3: 2}

    def test_state_options_name_their_default_status(self, client: httpx.Client) -> None:
        found = self.options(client, "StateAttributeMetadata", "statecode")
        assert {item["Value"]: item["DefaultStatus"] for item in found["Options"]} == {0: 1, 1: 2, 2: 3}

    def test_two_options(self, client: httpx.Client) -> None:
        found = self.options(client, "BooleanAttributeMetadata", "directioncode")
        assert found["TrueOption"]["Label"]["UserLocalizedLabel"]["Label"] == "Outgoing"
        assert found["FalseOption"]["Value"] == 0

    def test_nested_selection(self, client: httpx.Client) -> None:
        url = (
            f"{PHONE}/Attributes/{CRM}PicklistAttributeMetadata?$select=LogicalName&$expand=OptionSet($select=Options)"
        )
        (found,) = value(client.get(url))
        assert set(found["OptionSet"]) == {"Options", "MetadataId"}

    def test_both_kinds_of_option_set(self, client: httpx.Client) -> None:
        url = f"{PHONE}/Attributes/{CRM}PicklistAttributeMetadata?$expand=OptionSet,GlobalOptionSet"
        assert value(client.get(url))[0]["GlobalOptionSet"] is None

    def test_not_expandable_without_a_cast(self, client: httpx.Client) -> None:
        assert error_of(client.get(f"{PHONE}/Attributes?$expand=OptionSet")) == (400, "0x0")


@pytest.mark.parametrize(
    ("condition", "columns"),
    [
        (f"AttributeType eq {CRM}AttributeTypeCode'Picklist'", {"prioritycode"}),
        ("AttributeType eq 'Memo'", {"description"}),
        (f"RequiredLevel/Value eq {CRM}AttributeRequiredLevel'ApplicationRequired'", {"subject"}),
        ("LogicalName eq 'phonenumber'", {"phonenumber"}),
        ("startswith(LogicalName,'medx_')", {"medx_idempotencykey", "medx_disposition"}),
        ("IsPrimaryId eq true", {"activityid"}),
    ],
)
def test_filters_on_columns(client: httpx.Client, condition: str, columns: Any) -> None:
    found = value(client.get(f"{PHONE}/Attributes", params={"$select": "LogicalName", "$filter": condition}))
    assert {item["LogicalName"] for item in found} == columns


class TestRelationships:
    def test_bind_names_come_from_here(self, client: httpx.Client) -> None:
        query = "$select=ReferencingEntityNavigationPropertyName,ReferencedEntity,ReferencingAttribute"
        found = value(client.get(f"{PHONE}/ManyToOneRelationships?{query}"))
        names = {
            (item["ReferencingAttribute"], item["ReferencedEntity"]): item["ReferencingEntityNavigationPropertyName"]
            for item in found
        }
        assert names["regardingobjectid", "account"] == "regardingobjectid_account_phonecall"
        assert names["ownerid", "systemuser"] == names["ownerid", "team"] == "ownerid"

    def test_custom_lookups_have_names_in_mixed_case(self, client: httpx.Client) -> None:
        url = "EntityDefinitions(LogicalName='medx_callqueueitem')/ManyToOneRelationships"
        found = value(client.get(url, params={"$filter": "ReferencingAttribute eq 'medx_accountid'"}))
        assert [item["ReferencingEntityNavigationPropertyName"] for item in found] == ["medx_AccountId"]

    def test_the_other_side(self, client: httpx.Client) -> None:
        found = value(client.get("EntityDefinitions(LogicalName='account')/OneToManyRelationships"))
        tasks = next(item for item in found if item["SchemaName"] == "Account_Tasks")
        assert tasks["ReferencedEntityNavigationPropertyName"] == "Account_Tasks"
        assert tasks["CascadeConfiguration"]["Delete"] == "Cascade"

    def test_no_many_to_many(self, client: httpx.Client) -> None:
        assert value(client.get(f"{PHONE}/ManyToManyRelationships")) == []

    def test_all_of_them_by_name(self, client: httpx.Client) -> None:
        found = value(client.get("RelationshipDefinitions", params={"$filter": "SchemaName eq 'Account_Tasks'"}))
        one = client.get(f"RelationshipDefinitions({found[0]['MetadataId']})").json()
        assert one["ReferencingEntity"] == "task"


def test_keys(client: httpx.Client) -> None:
    (key,) = value(client.get("EntityDefinitions(LogicalName='account')/Keys"))
    assert (key["KeyAttributes"], key["EntityKeyIndexStatus"]) == (["accountnumber"], "Active")


@pytest.mark.parametrize(
    "path",
    [
        "EntityDefinitions(LogicalName='nosuch')",
        f"{PHONE}/Attributes(LogicalName='nosuch')",
        f"{PHONE}/nosuch",
        "EntityDefinitions(00000000-0000-0000-0000-000000000000)",
    ],
)
def test_metadata_that_is_not_there_is_404(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_single_property_of_a_table(client: httpx.Client) -> None:
    assert client.get(f"{PHONE}/EntitySetName").json()["value"] == "phonecalls"


def test_a_column_that_is_dropped_is_gone_everywhere(simulator: RunningSimulator, client: httpx.Client) -> None:
    import httpx

    httpx.delete(f"{simulator.control_url}/columns/phonecall/medx_disposition")
    assert client.get(f"{PHONE}/Attributes(LogicalName='medx_disposition')").status_code == 404
    assert error_of(client.post("phonecalls", json={"medx_disposition": "x"})) == (400, "0x80048d19")


class TestDocument:
    @pytest.fixture
    def schema(self, client: httpx.Client) -> Any:
        answer = client.get("$metadata", headers={"Accept": "application/xml"})
        assert answer.headers["Content-Type"].startswith("application/xml")
        return ElementTree.fromstring(answer.content)[0][0]

    def test_types_and_sets(self, schema: Any) -> None:
        edm = "{http://docs.oasis-open.org/odata/ns/edm}"
        types = {item.get("Name"): item for item in schema.findall(f"{edm}EntityType")}
        sets = {item.get("Name"): item.get("EntityType") for item in schema.iter(f"{edm}EntitySet")}
        assert sets["phonecalls"] == "mscrm.phonecall"
        assert types["phonecall"].get("BaseType") == "mscrm.activitypointer"
        chain = [*types["activitypointer"].findall(f"{edm}Property"), *types["phonecall"].findall(f"{edm}Property")]
        properties = {item.get("Name"): item.get("Type") for item in chain}
        assert len(properties) == len(chain)
        assert properties["actualstart"] == "Edm.DateTimeOffset"
        assert properties["_ownerid_value"] == "Edm.Guid"
        navigation = {
            item.get("Name"): item.get("Type") for item in types["account"].findall(f"{edm}NavigationProperty")
        }
        assert navigation["Account_Tasks"] == "Collection(mscrm.task)"
        assert navigation["ownerid"] == "mscrm.principal"

    def test_users_and_teams_are_principals_and_share_their_key(self, schema: Any) -> None:
        edm = "{http://docs.oasis-open.org/odata/ns/edm}"
        types = {item.get("Name"): item for item in schema.findall(f"{edm}EntityType")}
        for name in ("systemuser", "team"):
            assert types[name].get("BaseType") == "mscrm.principal"
            assert types[name].find(f"{edm}Key") is None
        assert types["principal"].find(f"{edm}Key/{edm}PropertyRef").get("Name") == "ownerid"

    def test_every_binding_leads_to_a_set_and_every_type_that_is_named_is_declared(self, schema: Any) -> None:
        edm = "{http://docs.oasis-open.org/odata/ns/edm}"
        sets = {item.get("Name") for item in schema.iter(f"{edm}EntitySet")}
        bindings = [item.get("Target") for item in schema.iter(f"{edm}NavigationPropertyBinding")]
        assert bindings
        assert set(bindings) <= sets
        declared = {item.get("Name") for kind in ("EntityType", "ComplexType") for item in schema.iter(edm + kind)}
        named = {
            item.get(attribute, "").removeprefix("Collection(").removesuffix(")")
            for item in schema.iter()
            for attribute in ("Type", "BaseType", "EntityType")
        }
        assert {name.removeprefix("mscrm.") for name in named if name.startswith("mscrm.")} <= declared

    @pytest.mark.parametrize(
        ("kind", "name"),
        [("Function", "WhoAmI"), ("Function", "LastXDays"), ("Action", "BulkDelete"), ("Action", "CreateMultiple")],
    )
    def test_functions_and_actions(self, schema: Any, kind: str, name: str) -> None:
        edm = "{http://docs.oasis-open.org/odata/ns/edm}"
        assert name in {item.get("Name") for item in schema.findall(edm + kind)}


class TestFunctions:
    @pytest.mark.parametrize("path", ["WhoAmI", "WhoAmI()"])
    def test_who_am_i(self, client: httpx.Client, path: str) -> None:
        body = client.get(path).json()
        assert body["@odata.context"].endswith("$metadata#Microsoft.Dynamics.CRM.WhoAmIResponse")
        assert body["UserId"] == tenant.APPLICATION_USER
        assert body["BusinessUnitId"] == tenant.BUSINESS_UNIT
        assert body["OrganizationId"] == tenant.ORGANIZATION_ID

    def test_the_wrong_verb_finds_no_resource(self, client: httpx.Client) -> None:
        answer = client.post("WhoAmI")
        assert error_of(answer) == (404, "")
        assert "No HTTP resource was found that matches the request URI" in answer.text

    @pytest.mark.parametrize("path", ["RetrieveVersion", "RetrieveVersion()"])
    def test_version(self, client: httpx.Client, path: str) -> None:
        assert client.get(path).json()["Version"].startswith("9.2.")

    def test_service_document(self, client: httpx.Client) -> None:
        names = {item["name"] for item in value(client.get(""))}
        assert {"accounts", "phonecalls", "tasks"} <= names


@pytest.mark.parametrize("segment", ["Account", "account", "PhoneCalls", "nosuch", "accounts2"])
def test_set_names_are_exact(client: httpx.Client, segment: str) -> None:
    answer = client.get(segment)
    assert error_of(answer) == (404, "0x8006088a")
    assert answer.json()["error"]["message"] == f"Resource not found for the segment '{segment}'."


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "accounts"),
        ("DELETE", "accounts"),
        ("PATCH", "accounts"),
        ("POST", f"accounts({tenant.ACCOUNTS[0]})"),
        ("PUT", f"accounts({tenant.ACCOUNTS[0]})"),
    ],
)
def test_wrong_verbs_are_405(client: httpx.Client, method: str, path: str) -> None:
    assert client.request(method, path, json={}).status_code == 405


def test_other_versions_of_the_web_api_answer_too(simulator: RunningSimulator) -> None:
    import httpx

    assert httpx.get(f"{simulator.base_url}/api/data/v9.1/WhoAmI").status_code == 200


def test_a_path_beside_the_web_api(simulator: RunningSimulator) -> None:
    import httpx

    assert httpx.get(f"{simulator.base_url}/api/nothing").status_code == 404
