"""Binding, owning, associating, and what deleting does to what hangs on a row."""

from typing import Any

import httpx
import pytest

from simulator import tenant
from tests.contract.simulator.support import ABSENT, RECORD, error_of

PHONE, TASK = f"phonecalls({RECORD})", f"tasks({RECORD})"
ACCOUNT = tenant.ACCOUNTS[0]


def bound(client: httpx.Client, url: Any, name: Any, value: Any) -> Any:
    answer = client.patch(url, json={"subject": "x", f"{name}@odata.bind": value})
    assert answer.status_code == 204, answer.text
    return client.get(url, headers={"Prefer": 'odata.include-annotations="*"'}).json()


@pytest.mark.parametrize(
    "value",
    [
        f"/accounts({ACCOUNT})",
        f"accounts({ACCOUNT})",
        f"/accounts({ACCOUNT.upper()})",
        f"https://org.example/api/data/v9.2/accounts({ACCOUNT})",
        "/accounts(accountnumber='A00001')",
        f"/accounts(accountid={ACCOUNT})",
    ],
)
def test_every_form_of_an_entity_reference_binds(client: httpx.Client, value: str) -> None:
    row = bound(client, PHONE, "regardingobjectid_account_phonecall", value)
    assert row["_regardingobjectid_value"] == ACCOUNT
    assert row["_regardingobjectid_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == "account"


@pytest.mark.parametrize(
    ("url", "name", "value", "table"),
    [
        (PHONE, "regardingobjectid_account_phonecall", f"/accounts({ACCOUNT})", "account"),
        (PHONE, "regardingobjectid_contact_phonecall", f"/contacts({tenant.CONTACT})", "contact"),
        (PHONE, "regardingobjectid_account", f"/accounts({ACCOUNT})", "account"),
        (TASK, "regardingobjectid_account_task", f"/accounts({ACCOUNT})", "account"),
        (TASK, "regardingobjectid_contact_task", f"/contacts({tenant.CONTACT})", "contact"),
        (TASK, "regardingobjectid_campaign_task", f"/campaigns({tenant.CAMPAIGN})", "campaign"),
    ],
)
def test_polymorphic_lookups_bind_by_the_name_of_their_target(
    client: httpx.Client, url: Any, name: str, value: str, table: str
) -> None:
    row = bound(client, url, name, value)
    assert row["_regardingobjectid_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == table


@pytest.mark.parametrize(
    "name", ["regardingobjectid", "regardingobjectid_lead_phonecall", "RegardingObjectId_account_phonecall", "nosuch"]
)
def test_a_wrong_bind_name_is_an_undeclared_property(client: httpx.Client, name: str) -> None:
    answer = client.patch(PHONE, json={f"{name}@odata.bind": f"/accounts({ACCOUNT})"})
    assert error_of(answer) == (400, "0x80048d19")
    assert f"An undeclared property '{name}' which only has property annotations" in answer.text


def test_a_bind_to_a_row_of_another_table_is_refused(client: httpx.Client) -> None:
    answer = client.patch(
        PHONE, json={"regardingobjectid_account_phonecall@odata.bind": f"/contacts({tenant.CONTACT})"}
    )
    assert error_of(answer) == (400, "0x80048d19")


@pytest.mark.parametrize("method", ["post", "patch"])
def test_a_bind_to_a_missing_row_is_404(client: httpx.Client, method: str) -> None:
    body = {"regardingobjectid_account_phonecall@odata.bind": f"/accounts({ABSENT})"}
    answer = client.post("phonecalls", json=body) if method == "post" else client.patch(PHONE, json=body)
    assert error_of(answer) == (404, "0x80040217")
    assert f"Entity 'account' With Id = {ABSENT} Does Not Exist" in answer.text


def test_a_bind_to_missing_key_values_is_404(client: httpx.Client) -> None:
    answer = client.patch(
        PHONE, json={"regardingobjectid_account_phonecall@odata.bind": "/accounts(accountnumber='none')"}
    )
    assert error_of(answer) == (404, "0x80060891")


@pytest.mark.parametrize("value", ["/nosuch(1)", "accounts", "", "/accounts(nosuch='1')"])
def test_a_bind_that_is_no_reference_is_refused(client: httpx.Client, value: str) -> None:
    answer = client.patch(PHONE, json={"regardingobjectid_account_phonecall@odata.bind": value})
    assert answer.status_code == 400


def test_a_bind_of_null_clears(client: httpx.Client) -> None:
    bound(client, PHONE, "regardingobjectid_account_phonecall", f"/accounts({ACCOUNT})")
    client.patch(PHONE, json={"regardingobjectid_account_phonecall@odata.bind": None})
    assert client.get(PHONE).json()["_regardingobjectid_value"] is None


class TestOwner:
    @pytest.mark.parametrize(
        ("value", "table"),
        [(f"/systemusers({tenant.CALLBACK_OWNER})", "systemuser"), (f"/teams({tenant.TEAM})", "team")],
    )
    def test_users_and_teams_can_own(self, client: httpx.Client, value: str, table: str) -> None:
        row = bound(client, TASK, "ownerid", value)
        assert row["_ownerid_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == table
        assert (row["_owninguser_value"] is None) == (table == "team")
        assert row["_owningbusinessunit_value"] == tenant.BUSINESS_UNIT

    def test_whoever_creates_a_row_owns_it(self, client: httpx.Client) -> None:
        client.patch(TASK, json={"subject": "x"})
        assert client.get(TASK).json()["_ownerid_value"] == tenant.APPLICATION_USER

    def test_a_missing_owner_is_404(self, client: httpx.Client) -> None:
        assert error_of(client.patch(TASK, json={"ownerid@odata.bind": f"/systemusers({ABSENT})"})) == (
            404,
            "0x80040217",
        )

    def test_an_account_cannot_own(self, client: httpx.Client) -> None:
        assert client.patch(TASK, json={"ownerid@odata.bind": f"/accounts({ACCOUNT})"}).status_code == 400

    def test_a_disabled_user_cannot_own(self, client: httpx.Client) -> None:
        answer = client.patch(TASK, json={"ownerid@odata.bind": f"/systemusers({tenant.DISABLED_USER})"})
        assert answer.status_code == 403

    def test_the_owner_cannot_be_cleared(self, client: httpx.Client) -> None:
        client.patch(TASK, json={"subject": "x"})
        assert client.patch(TASK, json={"ownerid@odata.bind": None}).status_code == 400
        assert client.patch(TASK, json={"ownerid": None}).status_code == 400
        assert client.delete(f"{TASK}/ownerid/$ref").status_code == 400
        assert client.get(TASK).json()["_ownerid_value"] == tenant.APPLICATION_USER

    def test_assigning_is_an_update(self, client: httpx.Client) -> None:
        client.patch(TASK, json={"subject": "x"})
        client.patch(TASK, json={"ownerid@odata.bind": f"/teams({tenant.TEAM})"})
        assert client.get(TASK).json()["_owningteam_value"] == tenant.TEAM


class TestReferences:
    def test_put_ref_binds(self, client: httpx.Client) -> None:
        client.patch(PHONE, json={"subject": "x"})
        answer = client.put(
            f"{PHONE}/regardingobjectid_account_phonecall/$ref",
            json={"@odata.id": f"{client.base_url}accounts({ACCOUNT})"},
        )
        assert answer.status_code == 204
        assert client.get(PHONE).json()["_regardingobjectid_value"] == ACCOUNT

    def test_delete_ref_clears(self, client: httpx.Client) -> None:
        bound(client, PHONE, "regardingobjectid_account_phonecall", f"/accounts({ACCOUNT})")
        assert client.delete(f"{PHONE}/regardingobjectid_account_phonecall/$ref").status_code == 204
        assert client.get(PHONE).json()["_regardingobjectid_value"] is None

    def test_post_ref_to_a_collection_associates(self, client: httpx.Client) -> None:
        client.patch(TASK, json={"subject": "x"})
        answer = client.post(f"accounts({ACCOUNT})/Account_Tasks/$ref", json={"@odata.id": TASK})
        assert answer.status_code == 204
        assert client.get(TASK).json()["_regardingobjectid_value"] == ACCOUNT

    @pytest.mark.parametrize("form", ["in the path", "as $id"])
    def test_delete_ref_of_a_collection_disassociates(self, client: httpx.Client, form: str) -> None:
        bound(client, TASK, "regardingobjectid_account_task", f"/accounts({ACCOUNT})")
        url = f"accounts({ACCOUNT})/Account_Tasks({RECORD})/$ref"
        if form == "as $id":
            url = f"accounts({ACCOUNT})/Account_Tasks/$ref?$id={client.base_url}{TASK}"
        assert client.delete(url).status_code == 204
        assert client.get(TASK).json()["_regardingobjectid_value"] is None

    def test_delete_ref_of_a_row_that_is_not_in_the_collection_is_404(self, client: httpx.Client) -> None:
        client.patch(TASK, json={"subject": "x"})
        assert client.delete(f"accounts({ACCOUNT})/Account_Tasks({RECORD})/$ref").status_code == 404

    def test_a_reference_of_another_table_is_refused(self, client: httpx.Client) -> None:
        client.patch(PHONE, json={"subject": "x"})
        assert client.post(f"accounts({ACCOUNT})/Account_Tasks/$ref", json={"@odata.id": PHONE}).status_code == 400

    def test_a_reference_without_an_id_is_refused(self, client: httpx.Client) -> None:
        client.patch(PHONE, json={"subject": "x"})
        answer = client.put(f"{PHONE}/regardingobjectid_account_phonecall/$ref", json={})
        assert error_of(answer) == (400, "0x80048d19")


class TestDeepInsert:
    def test_parties_are_made_with_the_call(self, client: httpx.Client) -> None:
        body = {
            "subject": "x",
            "phonecall_activity_parties": [
                {
                    "partyid_systemuser@odata.bind": f"/systemusers({tenant.APPLICATION_USER})",
                    "participationtypemask": 1,
                },
                {"partyid_contact@odata.bind": f"/contacts({tenant.CONTACT})", "participationtypemask": 2},
            ],
        }
        assert client.patch(PHONE, json=body).status_code == 204
        answer = client.get(
            f"{PHONE}?$select=subject&$expand=phonecall_activity_parties($select=participationtypemask)"
        )
        masks = [party["participationtypemask"] for party in answer.json()["phonecall_activity_parties"]]
        assert masks == [1, 2]

    def test_a_party_of_an_impossible_type_is_refused_and_nothing_is_made(self, client: httpx.Client) -> None:
        parties = [{"partyid_task@odata.bind": f"/tasks({ABSENT})", "participationtypemask": 2}]
        answer = client.patch(PHONE, json={"subject": "x", "phonecall_activity_parties": parties})
        assert error_of(answer) == (400, "0x80043506")
        assert client.get(PHONE).status_code == 404

    def test_related_rows_of_a_collection(self, client: httpx.Client) -> None:
        client.patch(
            f"accounts({RECORD})", json={"name": "Parent", "Account_Tasks": [{"subject": "one"}, {"subject": "two"}]}
        )
        tasks = client.get(f"tasks?$filter=_regardingobjectid_value eq {RECORD}&$select=subject").json()["value"]
        assert [task["subject"] for task in tasks] == ["one", "two"]

    def test_a_parent_made_on_the_way(self, client: httpx.Client) -> None:
        client.patch(f"accounts({RECORD})", json={"name": "A", "primarycontactid": {"lastname": "New"}})
        answer = client.get(f"accounts({RECORD})?$expand=primarycontactid($select=lastname)")
        assert answer.json()["primarycontactid"]["lastname"] == "New"

    def test_a_wrong_child_undoes_the_parent(self, client: httpx.Client) -> None:
        answer = client.patch(f"accounts({RECORD})", json={"name": "A", "Account_Tasks": [{"subject": "x" * 201}]})
        assert error_of(answer) == (400, "0x80044331")
        assert client.get(f"accounts({RECORD})").status_code == 404

    def test_it_is_for_creates_only(self, client: httpx.Client) -> None:
        client.patch(f"accounts({RECORD})", json={"name": "A"})
        assert client.patch(f"accounts({RECORD})", json={"Account_Tasks": [{"subject": "x"}]}).status_code == 400


class TestDelete:
    def test_a_deleted_account_takes_its_activities_along(self, client: httpx.Client) -> None:
        client.patch(f"accounts({RECORD})", json={"name": "A"})
        bound(client, TASK, "regardingobjectid_account_task", f"/accounts({RECORD})")
        bound(client, PHONE, "regardingobjectid_account_phonecall", f"/accounts({RECORD})")
        client.delete(f"accounts({RECORD})")
        assert client.get(TASK).status_code == client.get(PHONE).status_code == 404

    def test_a_deleted_account_only_leaves_a_gap_in_other_lookups(self, client: httpx.Client) -> None:
        client.patch(f"accounts({RECORD})", json={"name": "A"})
        item = f"medx_callqueueitems({RECORD})"
        client.patch(item, json={"medx_name": "x", "medx_AccountId@odata.bind": f"/accounts({RECORD})"})
        client.delete(f"accounts({RECORD})")
        assert client.get(item).json()["_medx_accountid_value"] is None

    def test_a_campaign_with_queue_items_cannot_be_deleted(self, client: httpx.Client) -> None:
        client.patch(
            f"medx_callqueueitems({RECORD})",
            json={"medx_name": "x", "medx_CampaignId@odata.bind": f"/campaigns({tenant.CAMPAIGN})"},
        )
        assert error_of(client.delete(f"campaigns({tenant.CAMPAIGN})")) == (405, "0x80040227")
        assert client.get(f"campaigns({tenant.CAMPAIGN})").status_code == 200

    def test_an_activity_takes_its_parties_along(self, client: httpx.Client) -> None:
        parties = [{"partyid_contact@odata.bind": f"/contacts({tenant.CONTACT})", "participationtypemask": 2}]
        client.patch(PHONE, json={"subject": "x", "phonecall_activity_parties": parties})
        client.delete(PHONE)
        assert client.get("activityparties").json()["value"] == []


class TestActivityPointer:
    def test_it_shows_every_activity(self, client: httpx.Client) -> None:
        client.patch(PHONE, json={"subject": "a call"})
        client.patch("tasks(bbbbbbbb-0000-4000-8000-000000000001)", json={"subject": "a task"})
        rows = client.get("activitypointers?$select=subject,activitytypecode&$orderby=subject").json()["value"]
        assert [(row["subject"], row["activitytypecode"]) for row in rows] == [
            ("a call", "phonecall"),
            ("a task", "task"),
        ]

    def test_one_is_found_by_its_id(self, client: httpx.Client) -> None:
        client.patch(TASK, json={"subject": "a task"})
        assert client.get(f"activitypointers({RECORD})?$select=subject").json()["subject"] == "a task"

    def test_it_cannot_be_created(self, client: httpx.Client) -> None:
        assert error_of(client.post("activitypointers", json={"subject": "x"})) == (400, "0x80040800")

    def test_deleting_it_deletes_the_activity(self, client: httpx.Client) -> None:
        client.patch(TASK, json={"subject": "a task"})
        assert client.delete(f"activitypointers({RECORD})").status_code == 204
        assert client.get(TASK).status_code == 404
