"""The response matrix: what each verb answers for a row that is there and one that is not."""

import httpx
import pytest

from simulator.testing import RunningSimulator
from tests.contract.simulator.support import TABLES, Sample, error_of, make

EVERY_TABLE = pytest.mark.parametrize("sample", TABLES, ids=lambda sample: sample.entity_set)


@EVERY_TABLE
class TestRowAbsent:
    def test_post_creates_and_names_the_row(self, client: httpx.Client, sample: Sample) -> None:
        answer = client.post(sample.entity_set, json=sample.body)
        assert answer.status_code == 204
        assert answer.content == b""
        assert answer.headers["OData-EntityId"].startswith(f"{client.base_url}{sample.entity_set}(")

    def test_post_with_an_id_keeps_it(self, client: httpx.Client, sample: Sample) -> None:
        answer = client.post(sample.entity_set, json=sample.body | {sample.key: sample.new_id})
        assert answer.status_code == 204
        assert sample.new_id in answer.headers["OData-EntityId"]

    def test_post_with_representation_answers_201_with_the_row_and_no_entity_id(
        self, client: httpx.Client, sample: Sample
    ) -> None:
        answer = client.post(sample.entity_set, json=sample.body, headers={"Prefer": "return=representation"})
        assert answer.status_code == 201
        assert answer.headers["Preference-Applied"] == "return=representation"
        assert "OData-EntityId" not in answer.headers
        assert answer.headers["ETag"] == answer.json()["@odata.etag"]

    def test_patch_creates(self, client: httpx.Client, sample: Sample) -> None:
        answer = client.patch(sample.url, json=sample.body)
        assert answer.status_code == 204
        assert answer.headers["OData-EntityId"] == f"{client.base_url}{sample.url}"
        assert client.get(sample.url).status_code == 200

    def test_patch_with_representation_answers_201(self, client: httpx.Client, sample: Sample) -> None:
        answer = client.patch(sample.url, json=sample.body, headers={"Prefer": "return=representation"})
        assert answer.status_code == 201
        assert answer.json()[sample.key] == sample.new_id

    def test_create_only_patch_creates(self, client: httpx.Client, sample: Sample) -> None:
        assert client.patch(sample.url, json=sample.body, headers={"If-None-Match": "*"}).status_code == 204

    def test_update_only_patch_is_404_and_creates_nothing(self, client: httpx.Client, sample: Sample) -> None:
        answer = client.patch(sample.url, json=sample.body, headers={"If-Match": "*"})
        assert error_of(answer) == (404, "0x80040217")
        assert answer.json()["error"]["message"] == f"Entity '{sample.table}' With Id = {sample.new_id} Does Not Exist"
        assert client.get(sample.url).status_code == 404

    def test_patch_under_an_etag_is_404(self, client: httpx.Client, sample: Sample) -> None:
        answer = client.patch(sample.url, json=sample.body, headers={"If-Match": 'W/"470867"'})
        assert error_of(answer) == (404, "0x80040217")

    def test_get_is_404(self, client: httpx.Client, sample: Sample) -> None:
        assert error_of(client.get(sample.url)) == (404, "0x80040217")

    def test_delete_is_404(self, client: httpx.Client, sample: Sample) -> None:
        assert error_of(client.delete(sample.url)) == (404, "0x80040217")

    def test_delete_under_an_etag_is_404(self, client: httpx.Client, sample: Sample) -> None:
        assert error_of(client.delete(sample.url, headers={"If-Match": 'W/"1"'})) == (404, "0x80040217")

    def test_put_of_a_column_is_404(self, client: httpx.Client, sample: Sample) -> None:
        assert client.put(f"{sample.url}/{sample.text}", json={"value": "x"}).status_code == 404


@EVERY_TABLE
class TestRowExists:
    def test_post_of_its_id_is_412(self, client: httpx.Client, sample: Sample) -> None:
        make(client, sample)
        answer = client.post(sample.entity_set, json=sample.body | {sample.key: sample.new_id})
        assert error_of(answer) == (412, "0x80040237")
        assert answer.json()["error"]["message"] == "A record with matching key values already exists."

    def test_patch_updates(self, client: httpx.Client, sample: Sample) -> None:
        make(client, sample)
        assert client.patch(sample.url, json={sample.text: "changed"}).status_code == 204
        assert client.get(sample.url).json()[sample.text] == "changed"

    def test_patch_with_representation_answers_200_and_the_new_etag(self, client: httpx.Client, sample: Sample) -> None:
        before = make(client, sample)
        answer = client.patch(sample.url, json={sample.text: "x"}, headers={"Prefer": "return=representation"})
        assert answer.status_code == 200
        assert answer.json()["@odata.etag"] == answer.headers["ETag"] != before

    def test_create_only_patch_is_412_and_changes_nothing(self, client: httpx.Client, sample: Sample) -> None:
        before = make(client, sample)
        answer = client.patch(sample.url, json={sample.text: "changed"}, headers={"If-None-Match": "*"})
        assert error_of(answer) == (412, "0x80040237")
        assert client.get(sample.url).headers["ETag"] == before

    def test_if_none_match_null_is_no_precondition(self, client: httpx.Client, sample: Sample) -> None:
        make(client, sample)
        assert client.patch(sample.url, json={sample.text: "x"}, headers={"If-None-Match": "null"}).status_code == 204

    def test_update_only_patch_updates(self, client: httpx.Client, sample: Sample) -> None:
        make(client, sample)
        assert client.patch(sample.url, json={sample.text: "x"}, headers={"If-Match": "*"}).status_code == 204

    def test_patch_under_the_current_etag_updates(self, client: httpx.Client, sample: Sample) -> None:
        etag = make(client, sample)
        assert client.patch(sample.url, json={sample.text: "x"}, headers={"If-Match": etag}).status_code == 204

    def test_patch_under_a_stale_etag_is_412_and_changes_nothing(self, client: httpx.Client, sample: Sample) -> None:
        stale = make(client, sample)
        client.patch(sample.url, json={sample.text: "first"})
        answer = client.patch(sample.url, json={sample.text: "second"}, headers={"If-Match": stale})
        assert error_of(answer) == (412, "0x80060882")
        assert client.get(sample.url).json()[sample.text] == "first"

    def test_delete_under_a_stale_etag_is_412(self, client: httpx.Client, sample: Sample) -> None:
        stale = make(client, sample)
        client.patch(sample.url, json={sample.text: "first"})
        assert error_of(client.delete(sample.url, headers={"If-Match": stale})) == (412, "0x80060882")

    def test_delete_under_the_current_etag_deletes(self, client: httpx.Client, sample: Sample) -> None:
        etag = make(client, sample)
        assert client.delete(sample.url, headers={"If-Match": etag}).status_code == 204
        assert client.get(sample.url).status_code == 404

    def test_delete_deletes(self, client: httpx.Client, sample: Sample) -> None:
        make(client, sample)
        assert client.delete(sample.url).status_code == 204
        assert client.delete(sample.url).status_code == 404

    def test_get_under_its_etag_is_304(self, client: httpx.Client, sample: Sample) -> None:
        etag = make(client, sample)
        answer = client.get(sample.url, headers={"If-None-Match": etag})
        assert (answer.status_code, answer.content) == (304, b"")

    def test_get_under_an_old_etag_is_200(self, client: httpx.Client, sample: Sample) -> None:
        old = make(client, sample)
        client.patch(sample.url, json={sample.text: "x"})
        assert client.get(sample.url, headers={"If-None-Match": old}).status_code == 200

    def test_get_with_annotations_is_never_304(self, client: httpx.Client, sample: Sample) -> None:
        etag = make(client, sample)
        headers = {"If-None-Match": etag, "Prefer": 'odata.include-annotations="*"'}
        assert client.get(sample.url, headers=headers).status_code == 200

    def test_get_with_an_expand_is_never_304(self, client: httpx.Client, sample: Sample) -> None:
        etag = make(client, sample)
        answer = client.get(f"{sample.url}?$expand=createdby($select=fullname)", headers={"If-None-Match": etag})
        assert answer.status_code == 200

    def test_every_write_makes_a_new_etag_even_without_a_change(self, client: httpx.Client, sample: Sample) -> None:
        before = make(client, sample)
        client.patch(sample.url, json={sample.text: sample.body.get(sample.text)})
        assert client.get(sample.url).headers["ETag"] != before

    def test_the_etag_is_weak_and_a_number(self, client: httpx.Client, sample: Sample) -> None:
        etag = make(client, sample)
        assert etag.startswith('W/"')
        assert etag[3:-1].isdigit()
        assert client.get(sample.url).json()["versionnumber"] == int(etag[3:-1])

    def test_deleted_and_created_again_is_another_version(self, client: httpx.Client, sample: Sample) -> None:
        old = make(client, sample)
        client.delete(sample.url)
        assert make(client, sample) != old
        assert error_of(client.patch(sample.url, json={}, headers={"If-Match": old})) == (412, "0x80060882")

    def test_both_preconditions_together_always_fail(self, client: httpx.Client, sample: Sample) -> None:
        make(client, sample)
        answer = client.patch(sample.url, json={}, headers={"If-Match": "*", "If-None-Match": "*"})
        assert answer.status_code == 412


def test_an_upper_case_id_is_the_same_row(client: httpx.Client) -> None:
    sample = TABLES[0]
    make(client, sample)
    assert client.get(sample.url.upper().replace(sample.entity_set.upper(), sample.entity_set)).status_code == 200


def test_a_table_without_optimistic_concurrency_refuses_an_etag(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    from dataclasses import replace

    sample = TABLES[1]
    etag = make(client, sample)
    schema = simulator.endpoints.simulator.organization.schema
    simulator.call(lambda _: schema.put(replace(schema.by_name[sample.table], optimistic_concurrency=False)))
    assert error_of(client.patch(sample.url, json={}, headers={"If-Match": etag})) == (400, "0x8006088d")
    assert client.patch(sample.url, json={}, headers={"If-Match": "*"}).status_code == 204
    assert client.get(sample.url, headers={"If-None-Match": etag}).status_code == 200
