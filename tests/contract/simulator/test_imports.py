"""I1 Tables of an organization come from what its Web API says; what a file does not say is not made up, and named."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from simulator.cli import app
from simulator.schema import TABLES, Kind, default_schema, read_schema, schema_of, table_from
from simulator.schema.imports import read_files
from simulator.testing import RunningSimulator, running_simulator

CASTS = ("Picklist", "State", "Status", "Boolean")

# As Microsoft's pages print it: inheritance, a multi-table lookup, a key, a description, a read-only column.
CSDL = """<?xml version="1.0" encoding="utf-8"?>
<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema Namespace="Microsoft.Dynamics.CRM" Alias="mscrm" xmlns="http://docs.oasis-open.org/odata/ns/edm">
<EntityType Name="crmbaseentity" Abstract="true" />
<EntityType Name="expando" BaseType="mscrm.crmbaseentity" OpenType="true" />
<EntityType Name="activitypointer" BaseType="mscrm.crmbaseentity">
  <Key><PropertyRef Name="activityid" /></Key>
  <Property Name="activityid" Type="Edm.Guid" />
  <Property Name="subject" Type="Edm.String" Unicode="false" />
  <Property Name="_ownerid_value" Type="Edm.Guid" />
</EntityType>
<EntityType Name="new_visit" BaseType="mscrm.activitypointer">
  <Property Name="new_minutes" Type="Edm.Int32" />
</EntityType>
<EntityType Name="new_ticket" BaseType="mscrm.crmbaseentity">
  <Key><PropertyRef Name="new_ticketid" /></Key>
  <Property Name="new_ticketid" Type="Edm.Guid" />
  <Property Name="new_name" Type="Edm.String" Unicode="false">
    <Annotation Term="Org.OData.Core.V1.Description" String="What it is about." />
  </Property>
  <Property Name="new_code" Type="Edm.String" Unicode="false" />
  <Property Name="new_urgency" Type="Edm.Int32" />
  <Property Name="new_cost" Type="Edm.Decimal" Scale="Variable" />
  <Property Name="new_due" Type="Edm.DateTimeOffset" />
  <Property Name="new_day" Type="Edm.Date" />
  <Property Name="new_open" Type="Edm.Boolean" />
  <Property Name="new_total" Type="Edm.Int32">
    <Annotation Term="Org.OData.Core.V1.Computed"><Bool>true</Bool></Annotation>
  </Property>
  <Property Name="new_stream" Type="Edm.Stream" />
  <Property Name="new_tags" Type="Collection(Edm.Int32)" />
  <Property Name="createdon" Type="Edm.DateTimeOffset" />
  <Property Name="statecode" Type="Edm.Int32" />
  <Property Name="_ownerid_value" Type="Edm.Guid" />
  <Property Name="_new_customer_value" Type="Edm.Guid" />
  <Property Name="_new_lead_value" Type="Edm.Guid" />
  <NavigationProperty Name="new_Customer_account" Type="mscrm.account" Nullable="false" Partner="new_account_tickets">
    <ReferentialConstraint Property="_new_customer_value" ReferencedProperty="accountid" />
  </NavigationProperty>
  <NavigationProperty Name="new_Customer_contact" Type="mscrm.contact" Nullable="false" Partner="new_contact_tickets">
    <ReferentialConstraint Property="_new_customer_value" ReferencedProperty="contactid" />
  </NavigationProperty>
  <NavigationProperty Name="new_Lead" Type="mscrm.lead" Nullable="false" Partner="new_lead_tickets">
    <ReferentialConstraint Property="_new_lead_value" ReferencedProperty="leadid" />
  </NavigationProperty>
  <NavigationProperty Name="new_ticket_Tasks" Type="Collection(mscrm.task)" Partner="regardingobjectid_ticket" />
  <Annotation Term="OData.Community.Keys.V1.AlternateKeys"><Collection>
    <Record Type="OData.Community.Keys.V1.AlternateKey"><PropertyValue Property="Key"><Collection>
      <Record Type="OData.Community.Keys.V1.PropertyRef">
        <PropertyValue Property="Alias" String="new_code" /><PropertyValue Property="Name" PropertyPath="new_code" />
      </Record>
    </Collection></PropertyValue></Record>
  </Collection></Annotation>
</EntityType>
<EntityContainer Name="System">
  <EntitySet Name="new_tickets" EntityType="Microsoft.Dynamics.CRM.new_ticket" />
  <EntitySet Name="new_visits" EntityType="Microsoft.Dynamics.CRM.new_visit" />
  <EntitySet Name="activitypointers" EntityType="Microsoft.Dynamics.CRM.activitypointer" />
</EntityContainer>
</Schema></edmx:DataServices></edmx:Edmx>"""
LEFT_OUT = ("new_ticket.new_stream (Edm.Stream)", "new_ticket.new_tags (Collection(Edm.Int32))")
PRESENT = tuple(table.logical_name for table in read_schema(TABLES))


@pytest.fixture
def csdl(tmp_path: Path) -> Any:
    path = tmp_path / "metadata.xml"
    path.write_text("\ufeff" + CSDL, encoding="utf-8")
    return path


def answers_of(simulator: RunningSimulator, folder: Path) -> list[Path]:
    """What somebody fetches from an organization, with the simulator as that organization."""
    urls = {"tables": "EntityDefinitions?$expand=Attributes,Keys,ManyToOneRelationships"}
    for name in PRESENT:
        urls[f"{name}-columns"] = f"EntityDefinitions(LogicalName='{name}')/Attributes"
        for cast in CASTS:
            urls[f"{name}-{cast}"] = (
                f"EntityDefinitions(LogicalName='{name}')/Attributes/Microsoft.Dynamics.CRM.{cast}AttributeMetadata"
                "?$expand=OptionSet"
            )
    files = []
    for name, url in urls.items():
        answer = httpx.get(f"{simulator.api_url}/{url}")
        assert answer.status_code == 200, answer.text
        files.append(folder / f"{name}.json")
        files[-1].write_bytes(answer.content)
    return files


def test_the_answers_of_an_organization_make_the_same_tables_again(simulator: RunningSimulator, tmp_path: Path) -> None:
    imported = read_files(answers_of(simulator, tmp_path), present=PRESENT)
    tables = {definition["table"]: table_from(definition) for definition in imported.tables}
    wanted = {table.logical_name: table for table in default_schema()}
    kept = {"businessunit", "systemuser", "team", "activitypointer", "activityparty", "teammembership"}
    assert tables.keys() == wanted.keys() - kept
    for name, table in tables.items():
        same = wanted[name]
        # The parties' collection and, with them hidden, the keys of activities are not in an organization's answers.
        expected = replace(same, parties="", keys={} if same.activity else same.keys, columns={})
        assert replace(table, columns={}) == expected
        for column in same.columns.values():
            made = table.columns[column.name]
            unnamed = column.kind is Kind.BOOLEAN and not column.options
            # Only choices and yes-or-no columns have a default in an organization.
            wanted_default = column.default if column.options or made.default is not None else None
            given = replace(made, options=()) if unnamed else made
            assert given == replace(column, default=wanted_default), f"{name}.{column.name}"
    assert imported.remarks == [
        "1 tables of many-to-many relationships, left out: teammembership",
        "5 tables that stay the simulator's own: activityparty, activitypointer, businessunit, systemuser, team",
    ]


def test_a_csdl_document_makes_tables_that_work(csdl: Any) -> None:
    with running_simulator(auth="none", imports=(csdl,)) as simulator:
        client = httpx.Client(base_url=f"{simulator.api_url}/")
        account = client.get("accounts?$top=1").json()["value"][0]["accountid"]
        body = {
            "new_name": "First", "new_code": "A1", "new_urgency": 3, "new_cost": 1.5, "new_due": "2026-01-01T00:00:00Z",
            "new_day": "2026-01-02", "new_open": True, "new_Customer_account@odata.bind": f"/accounts({account})",
        }  # fmt: skip
        assert client.patch("new_tickets(new_code='A1')", json=body).status_code == 204
        row = client.get("new_tickets(new_code='A1')?$expand=new_Customer_account($select=name)").json()
        assert (row["new_day"], row["_new_customer_value"], row["new_open"]) == ("2026-01-02", account, True)
        assert row["new_Customer_account"]["name"].startswith("Account")
        ticketed = client.get(f"accounts({account})?$expand=new_account_tickets($select=new_name)").json()
        assert [one["new_name"] for one in ticketed["new_account_tickets"]] == ["First"]
        assert client.post("new_visits", json={"subject": "Visit", "new_minutes": 5}).status_code == 204
        client.close()


def test_I1_what_a_csdl_document_does_not_say_is_named_and_not_made_up(csdl: Any) -> None:
    imported = read_files([csdl], present=PRESENT)
    visit, ticket = (table_from(definition) for definition in imported.tables)
    assert (ticket.primary_name, ticket.user_owned, ticket.activity, visit.activity) == ("new_name", True, False, True)
    assert visit.primary_id == "activityid"
    assert ticket.columns["new_urgency"].kind is Kind.INTEGER
    assert ticket.columns["new_name"].max_length == 1_048_576
    assert not ticket.columns["new_total"].creatable
    assert imported.remarks == [
        f"2 columns of types that are not simulated, left out: {', '.join(LEFT_OUT)}",
        "1 tables that stay the simulator's own: activitypointer",
        "2 tables whose states no file has, which are Active and Inactive: new_visit, new_ticket",
        "1 lookups to tables that are not here, left out: new_ticket.new_lead",
    ]


def test_I1_choices_without_their_options_take_any_whole_number(tmp_path: Path) -> None:
    answer = {
        "value": [
            {
                "LogicalName": "new_ticket", "EntitySetName": "new_tickets", "PrimaryIdAttribute": "new_ticketid",
                "PrimaryNameAttribute": "new_name", "OwnershipType": "UserOwned",
                "Attributes": [
                    {"LogicalName": "new_ticketid", "AttributeType": "Uniqueidentifier"},
                    {"LogicalName": "new_name", "AttributeType": "String", "MaxLength": 40},
                    {"LogicalName": "new_urgency", "AttributeType": "Picklist", "DefaultFormValue": 1},
                    {"LogicalName": "new_urgencyname", "AttributeType": "Virtual", "AttributeOf": "new_urgency"},
                    {"LogicalName": "new_picture", "AttributeType": "Virtual",
                     "@odata.type": "#Microsoft.Dynamics.CRM.ImageAttributeMetadata"},
                ],
            }
        ]
    }  # fmt: skip
    path = tmp_path / "tables.json"
    path.write_text(json.dumps(answer))
    imported = read_files([path])
    table = table_from(imported.tables[0])
    assert (table.columns["new_urgency"].kind, table.columns["new_urgency"].default) == (Kind.INTEGER, None)
    assert imported.remarks[0].endswith("left out: new_ticket.new_picture (Image)")
    assert imported.remarks[1].startswith("1 choices whose options no file has, which take any whole number")
    choices = {"value": [{"LogicalName": "new_urgency", "EntityLogicalName": "new_ticket", "AttributeType": "Picklist",
                          "OptionSet": None, "GlobalOptionSet": {"Options": [{"Value": 7, "Label": {}}]}}]}  # fmt: skip
    more = tmp_path / "choices.json"
    more.write_text(json.dumps(choices))
    for files in ([path, more], [more, path]):
        table = table_from(read_files(files).tables[0])
        assert [option.value for option in table.columns["new_urgency"].options] == [7]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<a", "not XML"),
        ("<a/>", "no tables"),
        ("{", "not JSON"),
        ("5", "a list of objects was expected"),
        ('{"value": [{"LogicalName": "account"}]}', "without \\$select"),
        ('{"value": [{"LogicalName": "a", "EntitySetName": "as", "PrimaryIdAttribute": "aid"}]}', "expand=Attributes"),
        ('{"value": [{"EntitySetName": "as"}]}', "not as the Web API writes it"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "wrong"
    path.write_text(content)
    with pytest.raises(ValueError, match=reason):
        read_files([path])


def test_some_tables_only(csdl: Any) -> None:
    assert [one["table"] for one in read_files([csdl], ["new_visit"], PRESENT).tables] == ["new_visit"]
    with pytest.raises(ValueError, match="no file has the table nosuch"):
        read_files([csdl], ["nosuch"])


def test_the_command_writes_a_table_file_that_can_be_served(csdl: Any, tmp_path: Path) -> None:
    out = tmp_path / "tables.yaml"
    result = CliRunner().invoke(app, ["import", str(csdl), "--table", "new_ticket", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "1 tables written" in result.output
    assert "Not imported   1 lookups to tables that are not here" in result.output
    assert [table["table"] for table in yaml.safe_load(out.read_text())["tables"]] == ["new_ticket"]
    assert "new_ticket" in schema_of([*read_schema(TABLES), *read_schema(out)]).by_name
    assert CliRunner().invoke(app, ["import", str(out), "--out", str(tmp_path / "x")]).exit_code == 1
