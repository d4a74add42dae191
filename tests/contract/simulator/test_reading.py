"""Joins, collections, many-to-many, parties, metadata that is made, and how an answer travels."""

import gzip
import json
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from simulator import tenant
from simulator.schema import table_from
from simulator.testing import RunningSimulator, running_simulator
from tests.contract.simulator.support import ABSENT, RECORD, BatchBody, error_of

A1, A2 = tenant.ACCOUNTS[:2]
CRM = "Microsoft.Dynamics.CRM."
MEMBERS = f"teams({tenant.TEAM})/teammembership_association"
USER = f"systemusers({tenant.PERSON})"
HUSH = "<filter><condition attribute='new_secret' operator='eq' value='hush'/></filter>"
LINK = "<link-entity name='contact' from='contactid' to='primarycontactid'/>"


def label(text: Any) -> Any:
    return {"LocalizedLabels": [{"Label": text, "LanguageCode": 1033}]}


class TestManyToMany:
    def associate(self, client: httpx.Client) -> Any:
        return client.post(f"{MEMBERS}/$ref", json={"@odata.id": USER})

    def test_both_sides_see_an_association(self, client: httpx.Client) -> None:
        assert self.associate(client).status_code == 204
        assert [row["fullname"] for row in client.get(MEMBERS).json()["value"]] == ["Pat Person"]
        assert [row["name"] for row in client.get(f"{USER}/teammembership_association").json()["value"]] == [
            "Callbacks"
        ]
        assert client.get(f"{MEMBERS}/$count").content.decode("utf-8-sig") == "1"
        assert client.get(f"{MEMBERS}({tenant.PERSON})?$select=fullname").json()["fullname"] == "Pat Person"

    def test_an_association_is_made_once(self, client: httpx.Client) -> None:
        self.associate(client)
        assert error_of(self.associate(client)) == (412, "0x80040237")

    @pytest.mark.parametrize("form", ["in the path", "as $id"])
    def test_it_is_taken_apart(self, client: httpx.Client, form: str) -> None:
        self.associate(client)
        url = f"{MEMBERS}({tenant.PERSON})/$ref" if form == "in the path" else f"{MEMBERS}/$ref?$id={USER}"
        assert client.delete(url).status_code == 204
        assert client.get(MEMBERS).json()["value"] == []
        assert client.delete(url).status_code == 404

    def test_a_row_of_another_table_is_refused(self, client: httpx.Client) -> None:
        answer = client.post(f"{MEMBERS}/$ref", json={"@odata.id": f"accounts({A1})"})
        assert error_of(answer) == (400, "0x80048d19")

    def test_it_is_expanded_and_filtered(self, client: httpx.Client) -> None:
        self.associate(client)
        expanded = client.get(f"{USER}?$select=fullname&$expand=teammembership_association($select=name)").json()
        assert [team["name"] for team in expanded["teammembership_association"]] == ["Callbacks"]
        condition = "teammembership_association/any(t:t/name eq 'Callbacks')"
        found = client.get("systemusers", params={"$filter": condition, "$select": "fullname"}).json()["value"]
        assert [row["fullname"] for row in found] == ["Pat Person"]

    def test_a_member_owns_what_its_team_owns_in_a_query(self, client: httpx.Client) -> None:
        client.post(f"{MEMBERS}/$ref", json={"@odata.id": f"systemusers({tenant.APPLICATION_USER})"})
        client.patch(f"tasks({RECORD})", json={"subject": "x", "ownerid@odata.bind": f"/teams({tenant.TEAM})"})
        asked = f"tasks?$filter={CRM}EqualUserOrUserTeams(PropertyName='_ownerid_value')"
        assert len(client.get(asked).json()["value"]) == 1

    def test_the_intersect_table_is_written_by_associating_alone(self, client: httpx.Client) -> None:
        assert error_of(client.post("teammemberships", json={}))[1] == "0x80040800"
        self.associate(client)
        (row,) = client.get("teammemberships").json()["value"]
        assert (row["systemuserid"], row["teamid"]) == (tenant.PERSON, tenant.TEAM)
        assert error_of(client.delete(f"teammemberships({row['teammembershipid']})"))[1] == "0x80040800"

    def test_a_deleted_row_takes_its_associations_along(
        self, client: httpx.Client, simulator: RunningSimulator
    ) -> None:
        client.post("teams", json={"teamid": RECORD, "name": "Short-lived"})
        client.post(f"teams({RECORD})/teammembership_association/$ref", json={"@odata.id": USER})
        client.delete(f"teams({RECORD})")
        assert simulator.rows("teammemberships") == []

    def test_a_failed_change_set_takes_it_back(
        self, client: httpx.Client, batch: BatchBody, simulator: RunningSimulator
    ) -> None:
        reference = (f"{MEMBERS}/$ref", {"@odata.id": USER})
        batch.change_set(("POST", *reference), ("POST", "tasks", {"subject": "x" * 201})).send(client)
        assert simulator.rows("teammemberships") == []

    def test_one_is_made_and_dropped_over_the_web_api(self, client: httpx.Client) -> None:
        body = {
            "@odata.type": f"{CRM}ManyToManyRelationshipMetadata", "SchemaName": "new_accounts_contacts",
            "Entity1LogicalName": "account", "Entity2LogicalName": "contact",
        }  # fmt: skip
        made = client.post("RelationshipDefinitions", json=body)
        assert made.status_code == 204
        assert client.post("RelationshipDefinitions", json=body).status_code == 400
        bind = {"name": "x", "new_accounts_contacts@odata.bind": [f"/contacts({tenant.CONTACT})"]}
        assert client.patch(f"accounts({RECORD})", json=bind).status_code == 204
        assert len(client.get(f"accounts({RECORD})/new_accounts_contacts").json()["value"]) == 1
        found = client.get("EntityDefinitions(LogicalName='contact')/ManyToManyRelationships").json()["value"]
        assert found[0]["IntersectEntityName"] == "new_accounts_contacts"
        assert client.delete(made.headers["OData-EntityId"]).status_code == 204
        assert client.get(f"accounts({RECORD})/new_accounts_contacts").status_code == 400

    def test_one_of_the_services_own_stays(self, client: httpx.Client) -> None:
        found = client.get(f"RelationshipDefinitions/{CRM}ManyToManyRelationshipMetadata").json()["value"][0]
        assert client.delete(f"RelationshipDefinitions({found['MetadataId']})").status_code == 400


class TestCollections:
    def test_a_row_is_made_in_a_collection(self, client: httpx.Client) -> None:
        assert client.post(f"accounts({A1})/Account_Tasks", json={"subject": "here"}).status_code == 204
        assert client.get(f"accounts({A1})/Account_Tasks").json()["value"][0]["subject"] == "here"

    def test_existing_rows_are_bound_to_a_new_one(self, client: httpx.Client) -> None:
        client.patch(f"tasks({RECORD})", json={"subject": "joins"})
        answer = client.post(
            "accounts?$select=name&$expand=Account_Tasks($select=subject)",
            json={"name": "New", "Account_Tasks@odata.bind": [f"/tasks({RECORD})"]},
            headers={"Prefer": "return=representation"},
        )
        assert [task["subject"] for task in answer.json()["Account_Tasks"]] == ["joins"]

    def test_an_update_does_not_heed_expand_as_documented_and_a_create_does(self, client: httpx.Client) -> None:
        url, prefer = f"accounts({RECORD})?$select=name&$expand=primarycontactid", {"Prefer": "return=representation"}
        body = {"name": "x", "primarycontactid@odata.bind": f"/contacts({tenant.CONTACT})"}
        assert "primarycontactid" not in client.patch(url, json=body, headers=prefer).json()
        made = client.post("accounts?$select=name&$expand=primarycontactid", json=body, headers=prefer).json()
        assert made["primarycontactid"]["fullname"] == "Kim Contact"

    @pytest.mark.parametrize("value", [[5], [f"/contacts({tenant.CONTACT})"], [f"/tasks({ABSENT})"]])
    def test_what_cannot_be_bound_is_refused_and_nothing_is_made(
        self, client: httpx.Client, simulator: RunningSimulator, value: Any
    ) -> None:
        before = len(simulator.rows("accounts"))
        answer = client.post("accounts", json={"name": "New", "Account_Tasks@odata.bind": value})
        assert answer.status_code in {400, 404}
        assert len(simulator.rows("accounts")) == before

    def test_the_next_link_of_an_expanded_collection_leads_to_the_rest(self, client: httpx.Client) -> None:
        for number in range(3):
            client.post(f"accounts({A1})/Account_Tasks", json={"subject": str(number)})
        inner = "Account_Tasks($select=subject;$expand=createdby($select=fullname))"
        url = f"accounts?$select=name&$filter=accountid eq {A1}&$expand={inner}"
        (row,) = client.get(url, headers={"Prefer": "odata.maxpagesize=2"}).json()["value"]
        rest = client.get(row["Account_Tasks@odata.nextLink"], headers={"Prefer": "odata.maxpagesize=2"}).json()
        assert [task["subject"] for task in row["Account_Tasks"] + rest["value"]] == ["0", "1", "2"]

    def test_the_next_link_of_a_single_expand_has_no_page(self, client: httpx.Client) -> None:
        client.post(f"accounts({A1})/Account_Tasks", json={"subject": "x"})
        (row,) = client.get(f"accounts?$filter=accountid eq {A1}&$expand=Account_Tasks($select=subject)").json()[
            "value"
        ]
        assert row["Account_Tasks@odata.nextLink"].endswith(f"accounts({A1})/Account_Tasks?$select=subject")
        assert client.get(row["Account_Tasks@odata.nextLink"]).json()["value"][0]["subject"] == "x"


class TestParties:
    CALL = f"phonecalls({RECORD})"

    def masks(self, client: httpx.Client) -> Any:
        answer = client.get(f"{self.CALL}/phonecall_activity_parties?$select=participationtypemask")
        return [party["participationtypemask"] for party in answer.json()["value"]]

    def party(self, mask: Any, table: str = "contacts", record_id: Any = tenant.CONTACT) -> Any:
        return {f"partyid_{table[:-1]}@odata.bind": f"/{table}({record_id})", "participationtypemask": mask}

    def test_put_replaces_them_all(self, client: httpx.Client) -> None:
        client.patch(self.CALL, json={"subject": "x", "phonecall_activity_parties": [self.party(1), self.party(2)]})
        answer = client.put(f"{self.CALL}/phonecall_activity_parties", json={"value": [self.party(3)]})
        assert (answer.status_code, self.masks(client)) == (204, [3])

    @pytest.mark.parametrize("value", [5, [5], [{"partyid_task@odata.bind": f"/tasks({ABSENT})"}]])
    def test_parties_that_cannot_be_leave_the_old_ones(self, client: httpx.Client, value: Any) -> None:
        client.patch(self.CALL, json={"subject": "x", "phonecall_activity_parties": [self.party(1)]})
        assert client.put(f"{self.CALL}/phonecall_activity_parties", json={"value": value}).status_code == 400
        assert self.masks(client) == [1]

    def test_other_collections_are_not_replaced(self, client: httpx.Client) -> None:
        assert client.put(f"accounts({A1})/Account_Tasks", json={"value": []}).status_code == 405


class TestJoinsAndWhoReads:
    SECRET: ClassVar = {
        "table": "new_case", "set": "new_cases", "id": "new_caseid", "name": "new_name", "custom": True,
        "columns": {"new_name": {"type": "string"}, "new_secret": {"type": "string", "secured": True}},
    }  # fmt: skip

    @pytest.mark.parametrize(
        "query",
        [
            f"fetchXml=<fetch><entity name='new_case'>{HUSH}</entity></fetch>",
            "fetchXml=<fetch><entity name='new_case'><order attribute='new_secret'/></entity></fetch>",
            "sql=SELECT new_name FROM new_case WHERE new_secret = 'hush'",
            "sql=SELECT new_secret FROM new_case",
            "$apply=groupby((new_secret))",
            "$apply=aggregate(new_secret with max as m)",
        ],
    )
    def test_no_query_language_tells_what_a_secured_column_holds(
        self, client: httpx.Client, simulator: RunningSimulator, query: str
    ) -> None:
        simulator.call(lambda core: core.organization.schema.put(table_from(self.SECRET)))
        simulator.seed("new_cases", {"new_name": "a", "new_secret": "hush"})
        answer = client.get(f"new_cases?{query}")
        assert error_of(answer) == (403, "0x8004f504")
        everything = "fetchXml=<fetch><entity name='new_case'><all-attributes/></entity></fetch>"
        assert "hush" not in client.get(f"new_cases?{everything}").text

    @pytest.mark.parametrize(
        "url",
        [
            "accounts?$expand=contact_customer_accounts",
            "accounts?$expand=primarycontactid",
            "accounts?$filter=contact_customer_accounts/any()",
            "accounts?$filter=primarycontactid/fullname eq 'x'",
            f"accounts({A1})/contact_customer_accounts",
            f"accounts?fetchXml=<fetch><entity name='account'>{LINK}</entity></fetch>",
            "accounts?sql=SELECT a.name FROM account a JOIN contact c ON c.parentcustomerid = a.accountid",
        ],
    )
    def test_a_table_that_may_not_be_read_is_not_read_by_a_join(
        self, client: httpx.Client, simulator: RunningSimulator, url: str
    ) -> None:
        simulator.call(lambda core: core.organization.deny(tenant.APPLICATION_USER, "contact", frozenset({"read"})))
        assert error_of(client.get(url)) == (403, "0x80040220")

    def test_more_than_fifty_thousand_rows_are_not_aggregated(
        self, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("simulator.query.apply.MAX_AGGREGATED", 5)
        answer = client.get("accounts?$apply=aggregate($count as n)")
        assert error_of(answer) == (400, "0x8004e023")

    def test_sixteen_links_are_too_many(self, client: httpx.Client) -> None:
        links = "".join(
            f"<link-entity name='contact' from='contactid' to='primarycontactid' alias='c{number}'/>"
            for number in range(16)
        )
        xml = f"<fetch><entity name='account'>{links}</entity></fetch>"
        assert error_of(client.get("accounts", params={"fetchXml": xml})) == (400, "0x8004430d")

    def test_every_page_of_fetchxml_once(self, client: httpx.Client) -> None:
        inner = "<entity name='account'><attribute name='name'/><order attribute='name'/></entity>"
        xml = f"<fetch count='3' page='{{}}'>{inner}</fetch>"
        prefer = {"Prefer": 'odata.include-annotations="*"'}
        seen, page, more = [], 1, True
        while more:
            body = client.get("accounts", params={"fetchXml": xml.format(page)}, headers=prefer).json()
            seen += [row["name"] for row in body["value"]]
            more, page = body[f"@{CRM}morerecords"], page + 1
        assert (sorted(seen), page) == (sorted(f"Account {number}" for number in range(1, 11)), 5)

    def test_every_page_of_sql_once(self, client: httpx.Client) -> None:
        url, seen = "accounts?sql=SELECT name FROM account ORDER BY name", []
        while url:
            body = client.get(url, headers={"Prefer": "odata.maxpagesize=4"}).json()
            seen += [row["name"] for row in body["value"]]
            url = body.get("@odata.nextLink")
        assert sorted(seen) == sorted(f"Account {number}" for number in range(1, 11))


class TestTablesMadeOverTheWebApi:
    BODY: ClassVar = {
        "@odata.type": f"{CRM}EntityMetadata", "SchemaName": "new_BankAccount", "DisplayName": label("Bank Account"),
        "OwnershipType": "UserOwned",
        "Attributes": [
            {
                "@odata.type": f"{CRM}StringAttributeMetadata", "SchemaName": "new_AccountName", "IsPrimaryName": True,
                "MaxLength": 100, "FormatName": {"Value": "Text"}, "DisplayName": label("Account Name"),
            }
        ],
    }  # fmt: skip

    def test_post_makes_one_table(self, client: httpx.Client) -> None:
        answer = client.post("EntityDefinitions", json=self.BODY)
        assert answer.status_code == 204
        definition = client.get(answer.headers["OData-EntityId"]).json()
        assert (definition["LogicalName"], definition["EntitySetName"]) == ("new_bankaccount", "new_bankaccounts")
        assert client.post("new_bankaccounts", json={"new_accountname": "x"}).status_code == 204

    def test_put_changes_its_labels_and_nothing_else(self, client: httpx.Client) -> None:
        url = client.post("EntityDefinitions", json=self.BODY).headers["OData-EntityId"]
        definition = client.get(url).json()
        assert client.put(url, json={**definition, "DisplayName": label("Renamed")}).status_code == 204
        assert client.get(url).json()["DisplayName"]["UserLocalizedLabel"]["Label"] == "Renamed"
        answer = client.put(url, json={**definition, "IsActivity": True})
        assert (answer.status_code, "IsActivity" in answer.text) == (501, True)

    @pytest.mark.parametrize("body", [{}, {"SchemaName": "NoPrefix"}, {"SchemaName": "new_X", "Attributes": []}])
    def test_a_table_that_cannot_be_is_refused(self, client: httpx.Client, body: Any) -> None:
        assert client.post("EntityDefinitions", json=body).status_code == 400


class TestOnTheWire:
    def test_a_large_answer_is_compressed_for_who_takes_it(self, client: httpx.Client) -> None:
        with client.stream("GET", "$metadata", headers={"Accept-Encoding": "gzip"}) as answer:
            raw = b"".join(answer.iter_raw())
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(raw).startswith(b"<?xml")

    @pytest.mark.parametrize("accepted", ["identity", "br", "gzip;q=0"])
    def test_and_not_for_who_does_not(self, client: httpx.Client, accepted: str) -> None:
        assert "Content-Encoding" not in client.get("$metadata", headers={"Accept-Encoding": accepted}).headers

    def test_a_small_answer_is_not(self, client: httpx.Client) -> None:
        assert "Content-Encoding" not in client.get("WhoAmI", headers={"Accept-Encoding": "gzip"}).headers

    def test_a_compressed_request_is_read(self, client: httpx.Client) -> None:
        body = gzip.compress(json.dumps({"subject": "zipped"}).encode())
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        assert client.patch(f"tasks({RECORD})", content=body, headers=headers).status_code == 204
        assert client.get(f"tasks({RECORD})").json()["subject"] == "zipped"

    def test_a_page_of_another_origin_may_ask_and_read(self, client: httpx.Client) -> None:
        asked = {
            "Origin": "https://page.example", "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "authorization,prefer",
        }  # fmt: skip
        answer = client.options("accounts", headers=asked)
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "https://page.example"
        assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
        assert answer.headers["Access-Control-Allow-Headers"] == "authorization,prefer"
        read = client.get("accounts?$top=1", headers={"Origin": "https://page.example"})
        assert read.headers["Access-Control-Allow-Origin"] == "https://page.example"
        assert "OData-EntityId" in read.headers["Access-Control-Expose-Headers"]

    def test_without_an_origin_there_is_no_word_of_it(self, client: httpx.Client) -> None:
        assert not any(name.lower().startswith("access-control") for name in client.get("WhoAmI").headers)

    def test_a_preflight_needs_no_token(self, tmp_path: Path) -> None:
        with running_simulator() as simulator:
            asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "GET"}
            assert httpx.options(f"{simulator.api_url}/accounts", headers=asked).status_code == 200
            assert httpx.get(f"{simulator.api_url}/accounts").status_code == 401
