"""Single columns of a row."""

from typing import Any

import httpx
import pytest

from simulator import tenant
from tests.contract.simulator.support import RECORD, error_of

PHONE = f"phonecalls({RECORD})"


@pytest.fixture
def phone(client: httpx.Client) -> Any:
    client.patch(PHONE, json={"subject": "x", "actualdurationminutes": 3})
    return client


def test_put_sets_one_column(phone: Any) -> None:
    answer = phone.put(f"{PHONE}/subject", json={"value": "y"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert phone.get(PHONE).json()["subject"] == "y"
    assert "OData-EntityId" not in answer.headers


def test_delete_clears_one_column(phone: Any) -> None:
    assert phone.delete(f"{PHONE}/actualdurationminutes").status_code == 204
    assert phone.get(PHONE).json()["actualdurationminutes"] is None


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("subject", "x" * 201, "0x80044331"), ("prioritycode", 9, "0x8004431a"), ("subject", 1, "0x80048d19"),
        ("statuscode", 2, "0x80048408"),
    ],
)  # fmt: skip
def test_put_validates_like_a_patch(phone: Any, column: str, value: int | str, code: str) -> None:
    assert error_of(phone.put(f"{PHONE}/{column}", json={"value": value})) == (400, code)


@pytest.mark.parametrize("body", [{}, {"subject": "y"}])
def test_put_needs_a_value(phone: Any, body: Any) -> None:
    assert error_of(phone.put(f"{PHONE}/subject", json=body)) == (400, "0x80048d19")


def test_get_one_column(phone: Any) -> None:
    answer = phone.get(f"{PHONE}/actualdurationminutes")
    assert answer.json()["value"] == 3
    assert answer.json()["@odata.context"].endswith(f"$metadata#phonecalls({RECORD})/actualdurationminutes")


def test_get_of_null_is_204(phone: Any) -> None:
    assert phone.get(f"{PHONE}/description").status_code == 204


@pytest.mark.parametrize(
    ("column", "text"), [("subject", "x"), ("actualdurationminutes", "3"), ("directioncode", "true")]
)
def test_the_raw_value(phone: Any, column: str, text: str) -> None:
    answer = phone.get(f"{PHONE}/{column}/$value")
    assert answer.text == text
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("path", "status"),
    [("regardingobjectid_account_phonecall", 405), ("regardingobjectid", 400), ("_regardingobjectid_value", 400)],
)
def test_delete_of_a_lookup_without_ref_is_refused_and_clears_nothing(phone: Any, path: str, status: int) -> None:
    phone.patch(PHONE, json={"regardingobjectid_account_phonecall@odata.bind": f"/accounts({tenant.ACCOUNTS[0]})"})
    assert phone.delete(f"{PHONE}/{path}").status_code == status
    assert phone.get(PHONE).json()["_regardingobjectid_value"] == tenant.ACCOUNTS[0]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "subject"), ("PATCH", "subject"), ("POST", "nosuch"), ("DELETE", "nosuch")]
)
def test_verbs_that_a_column_does_not_have(phone: Any, method: str, path: str) -> None:
    assert phone.request(method, f"{PHONE}/{path}", json={"value": "x"}).status_code in {400, 404, 405}


def test_a_property_that_is_none(phone: Any) -> None:
    assert phone.get(f"{PHONE}/nosuch").status_code == 400


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "subject"), ("DELETE", "subject"), ("DELETE", "regardingobjectid/$ref")]
)
def test_a_stale_etag_protects_single_columns_too(phone: Any, method: str, path: str) -> None:
    stale = phone.get(PHONE).headers["ETag"]
    phone.patch(PHONE, json={"description": "x"})
    answer = phone.request(method, f"{PHONE}/{path}", json={"value": "y"}, headers={"If-Match": stale})
    assert error_of(answer) == (412, "0x80060882")
