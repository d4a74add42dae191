"""Microsoft's own Python SDK, sync and async, unchanged, against the simulator.

Every case is written once, for the sync client's shape; see `sdk.py`.
"""

from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from azure.identity import ClientSecretCredential
from PowerPlatform.Dataverse.client import DataverseClient
from PowerPlatform.Dataverse.core.errors import HttpError, MetadataError
from PowerPlatform.Dataverse.models.filters import col
from PowerPlatform.Dataverse.models.labels import Label, LocalizedLabel
from PowerPlatform.Dataverse.models.relationship import (
    CascadeConfiguration,
    LookupAttributeMetadata,
    ManyToManyRelationshipMetadata,
    OneToManyRelationshipMetadata,
)
from PowerPlatform.Dataverse.models.upsert import UpsertItem

from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.contract.simulator.sdk import Credential, opened

ITEM = "medx_callqueueitem"


@pytest.fixture(params=["sync", "async"])
def sdk(request: pytest.FixtureRequest, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with opened(request.param, simulator, monkeypatch) as client:
        yield client


class TestRecords:
    def test_create_retrieve_update_delete(self, sdk: Any) -> None:
        record_id = sdk.records.create("account", {"name": "Contoso", "telephone1": "+15305550101"})
        assert sdk.records.retrieve("account", record_id, select=["name"])["name"] == "Contoso"
        sdk.records.update("account", record_id, {"name": "Contoso Ltd"})
        assert sdk.records.retrieve("account", record_id)["name"] == "Contoso Ltd"
        sdk.records.delete("account", record_id)
        assert sdk.records.retrieve("account", record_id) is None

    def test_create_many(self, sdk: Any) -> None:
        ids = sdk.records.create(ITEM, [{"medx_name": "a"}, {"medx_name": "b"}])
        assert len(ids) == 2
        assert sdk.records.retrieve(ITEM, ids[1])["medx_name"] == "b"

    def test_update_many_with_one_change(self, sdk: Any, simulator: RunningSimulator) -> None:
        ids = sdk.records.create(ITEM, [{"medx_name": "a"}, {"medx_name": "b"}])
        sdk.records.update(ITEM, ids, {"medx_priority": 4})
        assert [row["medx_priority"] for row in simulator.rows("medx_callqueueitems")] == [4, 4]

    def test_update_many_one_by_one(self, sdk: Any, simulator: RunningSimulator) -> None:
        ids = sdk.records.create(ITEM, [{"medx_name": "a"}, {"medx_name": "b"}])
        sdk.records.update(ITEM, ids, [{"medx_priority": 1}, {"medx_priority": 2}])
        assert [row["medx_priority"] for row in simulator.rows("medx_callqueueitems")] == [1, 2]

    def test_delete_many_one_by_one(self, sdk: Any, simulator: RunningSimulator) -> None:
        ids = sdk.records.create(ITEM, [{"medx_name": "a"}, {"medx_name": "b"}])
        sdk.records.delete(ITEM, ids, use_bulk_delete=False)
        assert simulator.rows("medx_callqueueitems") == []

    def test_delete_many_as_a_job(self, sdk: Any, simulator: RunningSimulator) -> None:
        ids = sdk.records.create(ITEM, [{"medx_name": "a"}, {"medx_name": "b"}])
        assert sdk.records.delete(ITEM, ids)
        assert simulator.rows("medx_callqueueitems") == []

    def test_list_with_everything(self, sdk: Any) -> None:
        sdk.records.create(ITEM, [{"medx_name": name, "medx_priority": number} for number, name in enumerate("abcd")])
        found = sdk.records.list(
            ITEM, select=["medx_name"], filter="medx_priority gt 0", orderby=["medx_name desc"], top=2
        )
        assert [row["medx_name"] for row in found] == ["d", "c"]

    def test_pages(self, sdk: Any) -> None:
        sdk.records.create(ITEM, [{"medx_name": name} for name in "abcde"])
        pages = list(sdk.records.list_pages(ITEM, select=["medx_name"], page_size=2))
        assert [len(page) for page in pages] == [2, 2, 1]

    def test_upsert_one(self, sdk: Any) -> None:
        for name in ("first", "second"):
            sdk.records.upsert(ITEM, [UpsertItem(alternate_key={"medx_externalid": "x"}, record={"medx_name": name})])
        assert [row["medx_name"] for row in sdk.records.list(ITEM, select=["medx_name"])] == ["second"]

    def test_upsert_several(self, sdk: Any) -> None:
        items = [UpsertItem(alternate_key={"medx_externalid": key}, record={"medx_name": key}) for key in "xy"]
        sdk.records.upsert(ITEM, items)
        assert len(sdk.records.list(ITEM, select=["medx_name"])) == 2

    def test_labels_of_options_become_their_values(self, sdk: Any) -> None:
        record_id = sdk.records.create("phonecall", {"subject": "x", "prioritycode": "High"})
        assert sdk.records.retrieve("phonecall", record_id)["prioritycode"] == 2

    def test_lookups_by_bind(self, sdk: Any) -> None:
        bind = {"regardingobjectid_account_phonecall@odata.bind": f"/accounts({tenant.ACCOUNTS[0]})"}
        record_id = sdk.records.create("phonecall", {"subject": "x", **bind})
        row = sdk.records.retrieve("phonecall", record_id, expand=["regardingobjectid_account_phonecall"])
        assert row["regardingobjectid_account_phonecall"]["name"] == "Account 1"

    def test_errors_carry_status_and_code(self, sdk: Any) -> None:
        with pytest.raises(HttpError) as caught:
            sdk.records.create("task", {"subject": "x" * 201})
        assert caught.value.status_code == 400
        assert caught.value.details["service_error_code"] == "0x80044331"

    def test_bulk_messages_on_activities_are_refused(self, sdk: Any) -> None:
        with pytest.raises(HttpError):
            sdk.records.create("task", [{"subject": "a"}, {"subject": "b"}])

    def test_an_unknown_table(self, sdk: Any) -> None:
        with pytest.raises(MetadataError):
            sdk.records.list("nosuch", select=["x"])


class TestQueries:
    @pytest.fixture(autouse=True)
    def _items(self, sdk: Any) -> None:
        rows = [{"medx_name": name, "medx_priority": number} for number, name in enumerate("abcd", 1)]
        sdk.records.create(ITEM, rows)

    def names(self, rows: Any) -> Any:
        return [row["medx_name"] for row in rows]

    @pytest.mark.parametrize(
        ("condition", "found"),
        [
            (col("medx_priority") > 2, "cd"),
            (col("medx_priority") == 1, "a"),
            ((col("medx_name") == "a") | (col("medx_name") == "d"), "ad"),
            (~(col("medx_name") == "a"), "bcd"),
            (col("medx_priority").in_([1, 3]), "ac"),
            (col("medx_priority").not_in([1, 3]), "bd"),
            (col("medx_priority").between(2, 3), "bc"),
            (col("medx_name").contains("b"), "b"),
            (col("medx_name").startswith("c"), "c"),
            (col("medx_notes").is_null(), "abcd"),
        ],
        ids=str,
    )
    def test_the_builder(self, sdk: Any, condition: Any, found: str) -> None:
        query = sdk.query.builder(ITEM)
        query = query.select("medx_name").where(condition).order_by("medx_name")
        assert "".join(self.names(query.execute())) == found

    def test_sql(self, sdk: Any) -> None:
        rows = sdk.query.sql(
            f"SELECT TOP 2 medx_name, medx_priority FROM {ITEM} WHERE medx_priority >= 2"
            " AND medx_name <> 'd' ORDER BY medx_name DESC"
        )
        assert self.names(rows) == ["c", "b"]

    def test_fetchxml(self, sdk: Any) -> None:
        xml = f"""<fetch><entity name='{ITEM}'><attribute name='medx_name'/>
            <order attribute='medx_name' descending='true'/>
            <filter type='or'><condition attribute='medx_priority' operator='eq' value='1'/>
            <condition attribute='medx_name' operator='like' value='d%'/></filter></entity></fetch>"""
        assert self.names(sdk.query.fetchxml(xml).execute()) == ["d", "a"]

    def test_fetchxml_in_pages(self, sdk: Any) -> None:
        inner = "<attribute name='medx_name'/><order attribute='medx_name'/>"
        xml = f"<fetch count='3'><entity name='{ITEM}'>{inner}</entity></fetch>"
        assert self.names(sdk.query.fetchxml(xml).execute()) == ["a", "b", "c", "d"]

    def test_a_data_frame(self, sdk: Any) -> None:
        frame = sdk.query.builder(ITEM).select("medx_name").order_by("medx_name").execute().to_dataframe()
        assert list(frame["medx_name"]) == ["a", "b", "c", "d"]


class TestDataFrames:
    def test_create_update_delete(self, sdk: Any, simulator: RunningSimulator) -> None:
        ids = sdk.dataframe.create(ITEM, pd.DataFrame([{"medx_name": "a"}, {"medx_name": "b"}]))
        frame = pd.DataFrame({"medx_callqueueitemid": list(ids), "medx_priority": [1, 2]})
        sdk.dataframe.update(ITEM, frame, id_column="medx_callqueueitemid")
        assert [row["medx_priority"] for row in simulator.rows("medx_callqueueitems")] == [1, 2]
        sdk.dataframe.delete(ITEM, ids)
        assert simulator.rows("medx_callqueueitems") == []

    def test_sql(self, sdk: Any) -> None:
        frame = sdk.dataframe.sql("SELECT TOP 3 name FROM account ORDER BY accountnumber")
        assert list(frame["name"]) == ["Account 1", "Account 2", "Account 3"]


class TestBatches:
    def test_operations_of_every_kind(self, sdk: Any) -> None:
        batch = sdk.batch.new()
        batch.records.create("account", {"name": "A"})
        batch.records.retrieve("account", tenant.ACCOUNTS[0], select=["name"])
        batch.records.list("account", select=["name"], top=1)
        batch.records.update("account", tenant.ACCOUNTS[0], {"name": "B"})
        batch.records.delete("account", tenant.ACCOUNTS[1])
        batch.tables.get("account")
        batch.query.sql("SELECT TOP 1 name FROM account")
        result = batch.execute()
        assert [item.status_code for item in result.responses] == [204, 200, 200, 204, 204, 200, 200]
        assert result.entity_ids

    def test_bulk_and_upsert(self, sdk: Any) -> None:
        batch = sdk.batch.new()
        batch.records.create(ITEM, [{"medx_name": "a"}, {"medx_name": "b"}])
        batch.records.upsert(ITEM, [UpsertItem(alternate_key={"medx_externalid": "x"}, record={"medx_name": "c"})])
        assert not batch.execute().has_errors

    def test_a_change_set_with_references(self, sdk: Any, simulator: RunningSimulator) -> None:
        batch = sdk.batch.new()
        with ChangeSetOf(batch) as changes:
            account = changes.records.create("account", {"name": "A"})
            changes.records.create("task", {"subject": "x", "regardingobjectid_account_task@odata.bind": account})
        result = batch.execute()
        assert not result.has_errors, [item.error_message for item in result.responses]
        (task,) = simulator.rows("tasks")
        assert task["_regardingobjectid_value"] == simulator.rows("accounts")[-1]["accountid"]

    def test_a_failing_change_set(self, sdk: Any, simulator: RunningSimulator) -> None:
        batch = sdk.batch.new()
        with ChangeSetOf(batch) as changes:
            changes.records.create("account", {"name": "A"})
            changes.records.create("task", {"subject": "x" * 201})
        result = batch.execute(continue_on_error=True)
        assert result.has_errors
        assert len(simulator.rows("accounts")) == 10


class ChangeSetOf:
    """`batch.changeset()` is sync or async, as its client is."""

    def __init__(self, batch: Any) -> None:
        self._changes = batch.changeset()

    def __enter__(self) -> Any:
        return self._changes.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._changes.__exit__(*error)


class Colour(IntEnum):
    RED = 1
    BLUE = 2


class TestTables:
    def test_get_and_list(self, sdk: Any) -> None:
        assert sdk.tables.get(ITEM).entity_set_name == "medx_callqueueitems"
        assert sdk.tables.get("nosuch") is None
        names = [
            table["LogicalName"] for table in sdk.tables.list(filter="IsCustomEntity eq true", select=["LogicalName"])
        ]
        assert names == [ITEM]

    def test_columns(self, sdk: Any) -> None:
        columns = sdk.tables.list_columns("phonecall", filter="AttributeType eq 'Memo'")
        assert [column["LogicalName"] for column in columns] == ["description"]
        typed = sdk.tables.get_column("phonecall", "subject")
        assert typed["MaxLength"] == 200

    def test_typed_columns(self, sdk: Any) -> None:
        columns = {column["LogicalName"]: column for column in sdk.tables.list_columns("phonecall", typed=True)}
        assert columns["description"]["MaxLength"] == 2000
        assert columns["actualdurationminutes"]["MaxValue"] == 2147483647

    def test_relationships(self, sdk: Any) -> None:
        names = {item["SchemaName"] for item in sdk.tables.list_table_relationships("task")}
        assert "Account_Tasks" in names
        assert sdk.tables.get_relationship("Account_Tasks").relationship_schema_name == "Account_Tasks"
        assert len(sdk.tables.list_relationships(filter="SchemaName eq 'Account_Tasks'")) == 1

    def test_alternate_keys(self, sdk: Any) -> None:
        (key,) = sdk.tables.get_alternate_keys("account")
        assert key.key_attributes == ["accountnumber"]

    def test_create_a_table_use_it_and_delete_it(self, sdk: Any) -> None:
        schema = {
            "new_Cost": "decimal",
            "new_Count": {"type": "int", "min_value": 1, "max_value": 5},
            "new_Due": "datetime",
            "new_Done": "bool",
            "new_Colour": Colour,
            "new_Text": {"type": "memo", "max_length": 500},
        }
        made = sdk.tables.create("new_Ticket", schema)
        assert (made["table_logical_name"], made["entity_set_name"]) == ("new_ticket", "new_tickets")
        record_id = sdk.records.create("new_Ticket", {"new_name": "t", "new_count": 2, "new_colour": "Blue"})
        row = sdk.records.retrieve("new_Ticket", record_id)
        assert (row["new_name"], row["new_count"], row["new_colour"]) == ("t", 2, 2)
        with pytest.raises(HttpError):
            sdk.records.create("new_Ticket", {"new_count": 6})
        sdk.tables.delete("new_Ticket")
        assert sdk.tables.get("new_Ticket") is None

    def test_add_change_and_remove_columns(self, sdk: Any) -> None:
        sdk.tables.create("new_Ticket", {})
        assert sdk.tables.add_columns("new_Ticket", {"new_Note": "string"}) == ["new_Note"]
        sdk.tables.update_column("new_Ticket", "new_Note", {"max_length": 5})
        assert sdk.tables.get_column("new_Ticket", "new_Note")["MaxLength"] == 5
        with pytest.raises(HttpError):
            sdk.records.create("new_Ticket", {"new_note": "123456"})
        sdk.tables.remove_columns("new_Ticket", ["new_Note"])
        assert sdk.tables.get_column("new_Ticket", "new_Note") is None

    def test_make_and_delete_an_alternate_key(self, sdk: Any) -> None:
        sdk.tables.create("new_Ticket", {"new_Code": "string"})
        sdk.tables.create_alternate_key("new_Ticket", "new_code_key", ["new_code"])
        (key,) = sdk.tables.get_alternate_keys("new_Ticket")
        sdk.records.upsert("new_Ticket", [UpsertItem(alternate_key={"new_code": "a"}, record={"new_name": "x"})])
        sdk.tables.delete_alternate_key("new_Ticket", key.metadata_id)
        assert list(sdk.tables.get_alternate_keys("new_Ticket")) == []

    def test_make_a_lookup(self, sdk: Any) -> None:
        sdk.tables.create("new_Ticket", {})
        sdk.tables.create_lookup_field("new_ticket", "new_AccountId", "account")
        record_id = sdk.records.create(
            "new_Ticket", {"new_name": "t", "new_AccountId@odata.bind": f"/accounts({tenant.ACCOUNTS[0]})"}
        )
        assert sdk.records.retrieve("new_Ticket", record_id)["_new_accountid_value"] == tenant.ACCOUNTS[0]

    def test_make_and_delete_a_relationship(self, sdk: Any) -> None:
        sdk.tables.create("new_Ticket", {})
        label = Label(localized_labels=[LocalizedLabel(label="Contact", language_code=1033)])
        lookup = LookupAttributeMetadata(schema_name="new_ContactId", display_name=label, required_level="None")
        relationship = OneToManyRelationshipMetadata(
            schema_name="new_contact_tickets",
            referenced_entity="contact",
            referencing_entity="new_ticket",
            referenced_attribute="contactid",
            cascade_configuration=CascadeConfiguration(delete="RemoveLink"),
        )
        made = sdk.tables.create_one_to_many_relationship(lookup, relationship)
        assert sdk.tables.get_relationship("new_contact_tickets") is not None
        sdk.tables.delete_relationship(made.relationship_id)
        assert sdk.tables.get_relationship("new_contact_tickets") is None


def lookup_to_contact() -> Any:
    label = Label(localized_labels=[LocalizedLabel(label="Contact", language_code=1033)])
    return LookupAttributeMetadata(schema_name="new_ContactId", display_name=label, required_level="None")


def contact_of_tickets() -> Any:
    return OneToManyRelationshipMetadata(
        schema_name="new_contact_tickets",
        referenced_entity="contact",
        referencing_entity="new_ticket",
        referenced_attribute="contactid",
    )


class TestTheRest:
    """What is neither used often nor named above: with it, every public operation that fits these tables has run."""

    def test_the_builders_options(self, sdk: Any) -> None:
        query = sdk.query.builder("contact").select("lastname").expand("parentcustomerid_account")
        (contact,) = query.include_formatted_values().count().execute()
        assert contact["parentcustomerid_account"]["name"] == "Account 1"
        pages = list(sdk.query.builder("account").select("name").order_by("name").page_size(6).execute_pages())
        assert [len(list(page)) for page in pages] == [6, 4]
        (first,) = (
            sdk.query.builder("account").select("name").order_by("accountnumber", descending=True).top(1).execute()
        )
        assert first["name"] == "Account 10"

    def test_several_columns_at_once(self, sdk: Any) -> None:
        sdk.tables.create("new_Ticket", {"new_A": "string", "new_B": "string"})
        changes = {"new_A": {"max_length": 5}, "new_B": {"max_length": 6}}
        assert sdk.tables.update_columns("new_Ticket", changes) == ["new_A", "new_B"]
        assert sdk.tables.get_column("new_Ticket", "new_B")["MaxLength"] == 6

    def test_flushing_the_cache_of_labels(self, sdk: Any) -> None:
        sdk.records.create("phonecall", {"subject": "x", "prioritycode": "High"})
        assert sdk.flush_cache("picklist") > 0

    def test_tables_in_batches(self, sdk: Any) -> None:
        def run(add: Any) -> None:
            batch = sdk.batch.new()
            add(batch.tables)
            result = batch.execute()
            assert not result.has_errors, [item.error_message for item in result.responses]

        run(lambda tables: tables.create("new_Ticket", {"new_Text": "string"}))
        run(lambda tables: tables.list(filter="IsCustomEntity eq true"))
        run(lambda tables: tables.add_columns("new_Ticket", {"new_More": "int"}))
        run(lambda tables: tables.create_lookup_field("new_ticket", "new_AccountId", "account"))
        run(lambda tables: tables.create_one_to_many_relationship(lookup_to_contact(), contact_of_tickets()))
        run(lambda tables: tables.get_relationship("new_contact_tickets"))
        names = {column["LogicalName"] for column in sdk.tables.list_columns("new_ticket")}
        assert names >= {"new_text", "new_more", "new_accountid", "new_contactid"}
        made = sdk.tables.get_relationship("new_contact_tickets")
        run(lambda tables: tables.delete_relationship(made.relationship_id))
        run(lambda tables: tables.remove_columns("new_Ticket", ["new_More"]))
        run(lambda tables: tables.delete("new_Ticket"))
        assert sdk.tables.get("new_Ticket") is None

    def test_data_frames_in_batches(self, sdk: Any, simulator: RunningSimulator) -> None:
        def run(add: Any) -> None:
            batch = sdk.batch.new()
            add(batch.dataframe)
            result = batch.execute()
            assert not result.has_errors, [item.error_message for item in result.responses]

        run(lambda frames: frames.create(ITEM, pd.DataFrame([{"medx_name": "a"}, {"medx_name": "b"}])))
        ids = [row["medx_callqueueitemid"] for row in simulator.rows("medx_callqueueitems")]
        changes = pd.DataFrame({"medx_callqueueitemid": ids, "medx_priority": [1, 2]})
        run(lambda frames: frames.update(ITEM, changes, id_column="medx_callqueueitemid"))
        assert [row["medx_priority"] for row in simulator.rows("medx_callqueueitems")] == [1, 2]
        run(lambda frames: frames.delete(ITEM, pd.Series(ids)))
        assert simulator.rows("medx_callqueueitems") == []

    def test_updates_and_deletes_in_a_change_set(self, sdk: Any, simulator: RunningSimulator) -> None:
        batch = sdk.batch.new()
        with ChangeSetOf(batch) as changes:
            changes.records.update("account", tenant.ACCOUNTS[0], {"name": "B"})
            changes.records.delete("account", tenant.ACCOUNTS[1])
        assert not batch.execute().has_errors
        assert simulator.rows("accounts")[0]["name"] == "B"
        assert len(simulator.rows("accounts")) == 9

    def test_what_these_tables_cannot_have_is_refused_in_plain_words(self, sdk: Any, tmp_path: Path) -> None:
        file = tmp_path / "a.txt"
        file.write_text("x")
        with pytest.raises(HttpError) as caught:
            sdk.files.upload("account", tenant.ACCOUNTS[0], "new_Document", str(file))
        assert caught.value.status_code == 400

    def test_tables_are_joined_and_related_many_to_many(self, sdk: Any) -> None:
        rows = sdk.query.sql(
            "SELECT a.name, c.lastname FROM account a JOIN contact c ON c.parentcustomerid = a.accountid"
        )
        assert [(row["name"], row["c.lastname"]) for row in rows] == [("Account 1", "Contact")]
        both = ManyToManyRelationshipMetadata("new_x", "account", "contact")
        assert sdk.tables.create_many_to_many_relationship(both).relationship_schema_name == "new_x"


class TestHelpers:
    def test_columns_for_sql(self, sdk: Any) -> None:
        assert any(column["name"] == "subject" for column in sdk.query.sql_columns("task"))

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_what_the_sync_client_derives_from_metadata(
        self, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(simulator.ca_file))
        with DataverseClient(str(simulator.authority), Credential()) as sdk:
            assert "name" in sdk.query.odata_select("account")
            assert sdk.query.odata_expands("phonecall")
            assert sdk.query.odata_expand("phonecall", "account") == "regardingobjectid_account_phonecall"
            bind = sdk.query.odata_bind("medx_callqueueitem", "campaign", tenant.CAMPAIGN)
        assert bind == {"medx_CampaignId@odata.bind": f"/campaigns({tenant.CAMPAIGN})"}

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_the_old_names_that_only_the_sync_client_has(
        self, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(simulator.ca_file))
        with DataverseClient(str(simulator.authority), Credential()) as sdk:
            assert sdk.records.get("account", tenant.ACCOUNTS[0], select=["name"])["name"] == "Account 1"
            pages = list(sdk.records.get("account", select=["name"], page_size=4))
            assert [len(page) for page in pages] == [4, 4, 2]
            assert len(sdk.dataframe.get("account", select=["name"])) == 10


def test_the_whole_way_with_a_real_sign_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_simulator(auth="entra", tls_dir=tmp_path) as simulator:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(simulator.ca_file))
        credential = ClientSecretCredential(
            tenant.TENANT_ID,
            tenant.CLIENT_ID,
            tenant.CLIENT_SECRET,
            authority=simulator.authority,
            disable_instance_discovery=True,
            connection_verify=str(simulator.ca_file),
        )
        with credential, DataverseClient(str(simulator.authority), credential) as client:
            record_id = client.records.create("account", {"name": "Contoso"})
            row = client.records.retrieve("account", record_id, select=["name", "_createdby_value"])
    assert row is not None
    assert (row["name"], row["_createdby_value"]) == ("Contoso", tenant.APPLICATION_USER)
