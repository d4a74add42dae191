# ruff: noqa: E501, RUF015 - one operation is one line, and a page of an async client is no iterator
"""What Microsoft's Python SDK is tried with: each operation works, or is refused for a reason."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PowerPlatform.Dataverse.models.filters import col
from PowerPlatform.Dataverse.models.labels import Label, LocalizedLabel
from PowerPlatform.Dataverse.models.relationship import (
    LookupAttributeMetadata,
    ManyToManyRelationshipMetadata,
    OneToManyRelationshipMetadata,
)
from PowerPlatform.Dataverse.models.upsert import UpsertItem

from simulator import tenant

A1, A2 = tenant.ACCOUNTS[:2]
ITEM = "medx_callqueueitem"
ABSENT = "00000000-0000-0000-0000-000000000009"


@dataclass(frozen=True)
class Operation:
    name: str
    run: Callable[[Any, dict[str, Any]], Any]
    says: str = ""
    reason: str = ""


@dataclass
class Outcome:
    name: str
    good: bool
    said: str | None
    reason: str | None
    held: dict[str, Any] = field(default_factory=dict)


def ensure(holds: object) -> None:
    assert holds


def works(name: str, run: Callable[[Any, dict[str, Any]], Any]) -> Operation:
    return Operation(name, run)


def refuses(name: str, reason: str, says: str, run: Callable[[Any, dict[str, Any]], Any]) -> Operation:
    return Operation(name, run, says, reason)


def fetch(inner: str, attributes: str = "") -> str:
    return f"<fetch {attributes}><entity name='account'>{inner}</entity></fetch>"


def names(rows: Any) -> list[Any]:
    return [row["name"] for row in rows]


def label(text: str) -> Label:
    return Label([LocalizedLabel(text, 1033)])


def _keep(held: dict[str, Any], name: str, value: Any) -> Any:
    held[name] = value
    return value


def _batch(sdk: Any, *steps: Callable[[Any], Any], **options: Any) -> Any:
    batch = sdk.batch.new()
    for step in steps:
        step(batch)
    return batch.execute(**options)


def _change_set(batch: Any, *bodies: dict[str, Any]) -> None:
    with batch.changeset() as changes:
        for body in bodies:
            changes.records.create("account", body)


def _upload(sdk: Any, held: dict[str, Any]) -> None:
    file = Path(held["folder"]) / "a.txt"
    file.write_text("x")
    sdk.files.upload("account", A1, "new_Document", str(file))


OPERATIONS: tuple[Operation, ...] = (
    works("records.create", lambda sdk, held: _keep(held, "id", sdk.records.create("account", {"name": "New", "revenue": 5}))),
    works("records.create, many", lambda sdk, held: _keep(held, "items", sdk.records.create(ITEM, [{"medx_name": "a"}, {"medx_name": "b"}]))),
    works("records.create with a bind", lambda sdk, held: sdk.records.create("contact", {"lastname": "Bound", "parentcustomerid_account@odata.bind": f"/accounts({A1})"})),
    refuses("records.create with related rows", "the SDK writes their name in lower case, and names are case-sensitive", "Invalid property 'account_tasks'", lambda sdk, held: sdk.records.create("account", {"name": "deep", "Account_Tasks": [{"subject": "child"}]})),
    works("records.create of an activity", lambda sdk, held: sdk.records.create("task", {"subject": "child", "regardingobjectid_account_task@odata.bind": f"/accounts({A1})"})),
    refuses("records.create with a text that is too long", "the service's own limit", "maximum allowed length", lambda sdk, held: sdk.records.create("account", {"name": "x" * 161})),
    refuses("records.create with an unknown column", "the service's own refusal", "Invalid property", lambda sdk, held: sdk.records.create("account", {"nosuch": 1})),
    refuses("records.create, many activities", "documented: activities have no CreateMultiple", "does not support", lambda sdk, held: sdk.records.create("task", [{"subject": "a"}, {"subject": "b"}])),
    works("records.retrieve", lambda sdk, held: ensure(sdk.records.retrieve("account", held["id"])["name"] == "New")),
    works("records.retrieve with select", lambda sdk, held: ensure(sdk.records.retrieve("account", A1, select=["accountnumber"])["accountnumber"] == "A00001")),
    works("records.retrieve with expand", lambda sdk, held: ensure(sdk.records.retrieve("contact", tenant.CONTACT, expand=["parentcustomerid_account"])["parentcustomerid_account"]["name"] == "Account 1")),
    works("records.retrieve of nothing is None", lambda sdk, held: ensure(sdk.records.retrieve("account", ABSENT) is None)),
    works("records.list", lambda sdk, held: ensure(len(list(sdk.records.list("account"))) >= 10)),
    works("records.list with filter", lambda sdk, held: ensure(names(sdk.records.list("account", filter="accountnumber eq 'A00003'")) == ["Account 3"])),
    works("records.list with orderby and top", lambda sdk, held: ensure(names(sdk.records.list("account", select=["name"], orderby=["name desc"], top=1)) != [])),
    works("records.list with count and annotations", lambda sdk, held: ensure(list(sdk.records.list("contact", count=True, include_annotations="*")))),
    works("records.list with expand", lambda sdk, held: ensure(list(sdk.records.list("account", filter=f"accountid eq {A1}", expand=["contact_customer_accounts"]))[0]["contact_customer_accounts"])),
    works("records.list_pages", lambda sdk, held: ensure(len(list(sdk.records.list_pages("account", select=["name"], page_size=4))) >= 3)),
    works("records.list with any", lambda sdk, held: ensure(names(sdk.records.list("account", filter="Account_Tasks/any(t:t/subject eq 'child')")) == ["Account 1"])),
    works("records.list with a query function", lambda sdk, held: ensure(len(list(sdk.records.list("account", filter="Microsoft.Dynamics.CRM.LastXDays(PropertyName='createdon',PropertyValue=2)"))) >= 10)),
    works("records.list by who asks", lambda sdk, held: ensure(list(sdk.records.list("account", filter="Microsoft.Dynamics.CRM.EqualUserId(PropertyName='_ownerid_value')")))),
    refuses("records.list under a hierarchy", "there are no hierarchies", "it has no hierarchies", lambda sdk, held: list(sdk.records.list("account", filter=f"Microsoft.Dynamics.CRM.Under(PropertyName='accountid',PropertyValue='{A1}')"))),
    refuses("records.list with a filter that is none", "the service's own refusal", "Syntax error", lambda sdk, held: list(sdk.records.list("account", filter="name like 'x'"))),
    refuses("records.list by a lookup's logical name", "documented: `_name_value` is the property", "Could not find a property named 'primarycontactid'", lambda sdk, held: list(sdk.records.list("account", filter=f"primarycontactid eq {tenant.CONTACT}"))),
    works("records.update", lambda sdk, held: sdk.records.update("account", held["id"], {"name": "Changed"})),
    works("records.update, many with one change", lambda sdk, held: sdk.records.update(ITEM, held["items"], {"medx_priority": 4})),
    works("records.update, many one by one", lambda sdk, held: sdk.records.update(ITEM, held["items"], [{"medx_priority": 1}, {"medx_priority": 2}])),
    refuses("records.update of what is not there", "404, as the service", "Does Not Exist", lambda sdk, held: sdk.records.update("account", ABSENT, {"name": "x"})),
    works("records.upsert", lambda sdk, held: sdk.records.upsert("account", [UpsertItem({"accountnumber": "U1"}, {"name": "upserted"})])),
    works("records.upsert, many", lambda sdk, held: sdk.records.upsert(ITEM, [UpsertItem({"medx_externalid": "e1"}, {"medx_name": "a"}), UpsertItem({"medx_externalid": "e2"}, {"medx_name": "b"})])),
    works("query.builder", lambda sdk, held: ensure(list(sdk.query.builder("account").select("name").where(col("accountnumber") == "A00002").execute()))),
    works("query.builder with in", lambda sdk, held: ensure(len(list(sdk.query.builder("account").select("name").where(col("accountnumber").in_(["A00001", "A00002"])).execute())) == 2)),
    works("query.builder with between", lambda sdk, held: ensure(list(sdk.query.builder("account").select("name").where(col("revenue").between(1, 9)).execute()))),
    works("query.builder with contains", lambda sdk, held: ensure(list(sdk.query.builder("account").select("name").where(col("name").contains("Account")).execute()))),
    works("query.builder with and, or, not", lambda sdk, held: ensure(list(sdk.query.builder("account").select("name").where((col("accountnumber") == "A00001") | ~(col("name") == "x")).execute()))),
    works("query.builder with null", lambda sdk, held: ensure(list(sdk.query.builder("account").select("name").where(col("accountnumber").is_null()).execute()))),
    works("query.builder with order_by and top", lambda sdk, held: ensure(len(list(sdk.query.builder("account").select("name").order_by("name", descending=True).top(2).execute())) == 2)),
    works("query.builder with expand", lambda sdk, held: ensure(list(sdk.query.builder("contact").select("lastname").expand("parentcustomerid_account").execute()))),
    works("query.fetchxml", lambda sdk, held: ensure(list(sdk.query.fetchxml(fetch("<attribute name='name'/>")).execute()))),
    works("query.fetchxml, pages", lambda sdk, held: ensure(len(list(sdk.query.fetchxml(fetch("<attribute name='name'/>", "count='4'")).execute())) >= 10)),
    works("query.fetchxml with a join", lambda sdk, held: ensure([row["c.lastname"] for row in sdk.query.fetchxml(fetch("<attribute name='name'/><link-entity name='contact' from='parentcustomerid' to='accountid' alias='c'><attribute name='lastname'/></link-entity>")).execute()] == ["Contact", "Bound"])),
    works("query.fetchxml with an aggregate", lambda sdk, held: ensure(list(sdk.query.fetchxml(fetch("<attribute name='accountid' aggregate='count' alias='n'/>", "aggregate='true'")).execute())[0]["n"] >= 10)),
    works("query.fetchxml with a date operator", lambda sdk, held: ensure(list(sdk.query.fetchxml(fetch("<filter><condition attribute='createdon' operator='today'/></filter>")).execute()))),
    refuses("query.fetchxml over retained rows", "there is no long-term retention", "there is no long-term retention here", lambda sdk, held: list(sdk.query.fetchxml(fetch("", "datasource='retained'")).execute())),
    works("query.sql", lambda sdk, held: ensure(names(sdk.query.sql("SELECT name FROM account WHERE accountnumber = 'A00001'")) == ["Account 1"])),
    works("query.sql with TOP and ORDER BY", lambda sdk, held: ensure(len(sdk.query.sql("SELECT TOP 2 name FROM account ORDER BY name")) == 2)),
    works("query.sql with OFFSET and FETCH", lambda sdk, held: ensure(len(sdk.query.sql("SELECT name FROM account ORDER BY name OFFSET 2 ROWS FETCH NEXT 3 ROWS ONLY")) == 3)),
    works("query.sql with DISTINCT", lambda sdk, held: ensure(sdk.query.sql("SELECT DISTINCT statecode FROM account"))),
    works("query.sql with a join", lambda sdk, held: ensure(len(sdk.query.sql("SELECT a.name, c.lastname AS who FROM account a JOIN contact c ON a.accountid = c.parentcustomerid")) == 2)),
    works("query.sql with a left join", lambda sdk, held: ensure(len(sdk.query.sql("SELECT a.name, c.lastname AS who FROM account a LEFT JOIN contact c ON a.accountid = c.parentcustomerid")) >= 11)),
    works("query.sql with COUNT and GROUP BY", lambda sdk, held: ensure(sdk.query.sql("SELECT a.name, COUNT(c.contactid) AS n FROM account a JOIN contact c ON a.accountid = c.parentcustomerid GROUP BY a.name")[0]["n"] == 2)),
    works("query.sql with IN, LIKE and BETWEEN", lambda sdk, held: ensure(sdk.query.sql("SELECT name FROM account WHERE name LIKE 'Account%' AND accountnumber IN ('A00001', 'A00002') AND numberofemployees IS NULL"))),
    refuses("query.sql with *", "the SDK refuses it itself", "SELECT *", lambda sdk, held: sdk.query.sql("SELECT * FROM account")),
    refuses("query.sql with HAVING", "the SDK refuses it itself", "HAVING", lambda sdk, held: sdk.query.sql("SELECT name, COUNT(*) AS n FROM account GROUP BY name HAVING COUNT(*) > 1")),
    works("query.sql_columns", lambda sdk, held: ensure(sdk.query.sql_columns("account"))),
    works("dataframe.sql", lambda sdk, held: ensure(len(sdk.dataframe.sql("SELECT name FROM account")) >= 10)),
    works("tables.create", lambda sdk, held: ensure(sdk.tables.create("new_Thing", {"new_Title": "string", "new_Count": "int"}).logical_name == "new_thing")),
    works("tables.get", lambda sdk, held: ensure(sdk.tables.get("new_Thing").entity_set_name == "new_things")),
    works("tables.list", lambda sdk, held: ensure(sdk.tables.list())),
    works("tables.add_columns", lambda sdk, held: sdk.tables.add_columns("new_Thing", {"new_Due": "datetime", "new_Share": "decimal"})),
    works("tables.list_columns", lambda sdk, held: ensure(any(item["LogicalName"] == "new_due" for item in sdk.tables.list_columns("new_thing")))),
    works("tables.get_column", lambda sdk, held: ensure(sdk.tables.get_column("new_thing", "new_count"))),
    works("tables.remove_columns", lambda sdk, held: sdk.tables.remove_columns("new_Thing", ["new_Share"])),
    works("tables.create_alternate_key", lambda sdk, held: sdk.tables.create_alternate_key("new_Thing", "new_count_key", ["new_count"])),
    works("tables.get_alternate_keys", lambda sdk, held: ensure(_keep(held, "key", sdk.tables.get_alternate_keys("new_Thing")[0]))),
    works("tables.delete_alternate_key", lambda sdk, held: sdk.tables.delete_alternate_key("new_Thing", held["key"].metadata_id)),
    works("tables.create_lookup_field", lambda sdk, held: sdk.tables.create_lookup_field("new_thing", "new_AccountId", "account")),
    works("tables.create_one_to_many_relationship", lambda sdk, held: sdk.tables.create_one_to_many_relationship(LookupAttributeMetadata("new_ContactId", label("Contact")), OneToManyRelationshipMetadata("new_contact_thing", "contact", "new_thing", "contactid"))),
    works("tables.create_many_to_many_relationship", lambda sdk, held: _keep(held, "relation", sdk.tables.create_many_to_many_relationship(ManyToManyRelationshipMetadata("new_things_accounts", "new_thing", "account")))),
    works("tables.get_relationship", lambda sdk, held: ensure(sdk.tables.get_relationship("new_things_accounts"))),
    works("tables.list_relationships", lambda sdk, held: ensure(sdk.tables.list_relationships())),
    works("tables.list_table_relationships", lambda sdk, held: ensure(sdk.tables.list_table_relationships("account"))),
    works("tables.delete_relationship", lambda sdk, held: sdk.tables.delete_relationship(held["relation"].relationship_id)),
    works("tables.delete", lambda sdk, held: sdk.tables.delete("new_Thing")),
    refuses("tables.create in a solution", "there are no solutions", "there are no solutions here", lambda sdk, held: sdk.tables.create("new_Solved", {"new_X": "string"}, solution="mine")),
    works("batch with records", lambda sdk, held: ensure(not _batch(sdk, lambda batch: batch.records.create("account", {"name": "in a batch"}), lambda batch: batch.records.retrieve("account", A1)).has_errors)),
    works("batch with a change set", lambda sdk, held: ensure(not _batch(sdk, lambda batch: _change_set(batch, {"name": "one"}, {"name": "two"})).has_errors)),
    works("batch with sql and a list", lambda sdk, held: ensure(not _batch(sdk, lambda batch: batch.query.sql("SELECT name FROM account"), lambda batch: batch.records.list("contact")).has_errors)),
    works("batch, continue on error", lambda sdk, held: ensure(len(_batch(sdk, lambda batch: batch.records.create("account", {"name": 5}), lambda batch: batch.records.create("account", {"name": "after"}), continue_on_error=True).responses) == 2)),
    works("batch with a failing change set says so", lambda sdk, held: ensure(_batch(sdk, lambda batch: _change_set(batch, {"name": "x" * 161})).has_errors)),
    works("records.delete", lambda sdk, held: sdk.records.delete("account", held["id"])),
    works("records.delete, many", lambda sdk, held: sdk.records.delete(ITEM, held["items"], use_bulk_delete=False)),
    works("records.delete, many as a job", lambda sdk, held: ensure(sdk.records.delete(ITEM, sdk.records.create(ITEM, [{"medx_name": "x"}, {"medx_name": "y"}])))),
    refuses("files.upload", "there are no file columns", "", _upload),
)  # fmt: skip


def run_all(sdk: Any, folder: Path) -> list[Outcome]:
    """Every operation in order, on one client."""
    held: dict[str, Any] = {"folder": folder}
    outcomes = []
    for operation in OPERATIONS:
        said: str | None = None
        try:
            operation.run(sdk, held)
        except Exception as error:  # noqa: BLE001 - what a client says is what this is about
            said = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")
        good = said is None if not operation.reason else said is not None and operation.says in said
        outcomes.append(Outcome(operation.name, good, said, operation.reason or None))
    return outcomes
