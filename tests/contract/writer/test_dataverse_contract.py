"""What the writer relies on, asked of the fake that unit tests use and of the simulator, by the same cases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from simulator import tenant
from simulator.testing import running_simulator
from tests.contract.writer.fake_dataverse import FakeDataverse
from tests.support.factories import an_id
from writer.core.batch import ChangeSet, Request, Succeeded
from writer.core.exchanges import Exchange, Part
from writer.core.pacing import Pacer, ServiceLimits
from writer.core.replies import Kind, Meaning
from writer.dataverse.client import DataverseClient
from writer.dataverse.identity import NoSignIn
from writer.dataverse.pool import Channel, Pool
from writer.metrics import Metrics
from writer.settings import DataverseSettings

ITEM, CALL = an_id("the item"), an_id("the call")
ITEMS, CALLS = "medx_callqueueitems", "phonecalls"


@dataclass
class Crm:
    """One of the two, seen through the writer's own client."""

    connect: Callable[..., DataverseClient]
    seed_item: Callable[[], Any]
    options: dict[str, Any] = field(default_factory=dict)
    """Settings of the client."""

    def exchange(self, *parts: Part) -> Exchange:
        return self.in_turn(parts)[0]

    def in_turn(self, *rounds: tuple[Part, ...]) -> list[Exchange]:
        async def run() -> list[Exchange]:
            channel = Channel(self.connect(**self.options), Pacer(ServiceLimits()))
            pool = Pool([channel], Metrics(), api_path="/api/data/v9.2/")
            try:
                return [await pool.exchange(parts, operation="test") for parts in rounds]
            finally:
                await pool.close()

        return asyncio.run(run())


@pytest.fixture(params=["fake", "simulator"])
def crm(request: pytest.FixtureRequest) -> Iterator[Crm]:
    def client(url: str, transport: httpx2.AsyncBaseTransport | None = None, **options: Any) -> DataverseClient:
        settings = DataverseSettings.model_validate({"url": url, **options})
        return DataverseClient(settings, NoSignIn("nobody"), transport=transport)

    if request.param == "fake":
        fake = FakeDataverse()
        yield Crm(
            lambda **options: client("http://localhost:1", fake.transport(), **options),
            lambda: fake.seed(ITEMS, ITEM, medx_callstatus=1, medx_lastsessionid=None),
        )
        return
    with running_simulator(auth="none") as simulator:
        yield Crm(
            lambda **options: client(simulator.base_url, **options),
            lambda: simulator.seed(ITEMS, {"medx_callqueueitemid": ITEM, "medx_name": "i", "medx_callstatus": 1}),
        )


def create(record_id: str = CALL) -> Request:
    return Request("PATCH", f"{CALLS}({record_id})", {"If-None-Match": "*"}, {"subject": "a call"})


def complete(record_id: str = CALL) -> Request:
    return Request("PATCH", f"{CALLS}({record_id})", {"If-Match": "*"}, {"statecode": 1, "statuscode": 2})


def update(etag: str, session: str = "sess-1") -> Request:
    return Request("PATCH", f"{ITEMS}({ITEM})", {"If-Match": etag}, {"medx_lastsessionid": session})


def read(entity_set: str = ITEMS, record_id: str = ITEM) -> Request:
    return Request("GET", f"{entity_set}({record_id})")


def body(exchange: Exchange, part: int = 0) -> dict[str, Any]:
    answer = exchange.parts[part].answer
    assert isinstance(answer, Succeeded), exchange.parts[part]
    return dict(answer.replies[0].json())


def judged(exchange: Exchange) -> list[tuple[Kind, Meaning]]:
    return [(part.judgement.kind, part.judgement.meaning) for part in exchange.parts]


LANDED = (Kind.DONE, Meaning.LANDED)
Rounds = Awaitable[list[Exchange]]


def test_W3_a_change_set_lands_as_a_whole_under_the_etag_that_was_read(crm: Crm) -> None:
    crm.seed_item()
    etag = body(crm.exchange(read()))["@odata.etag"]
    landed, after = crm.in_turn((ChangeSet((create(), complete(), update(etag))),), (read(), read(CALLS, CALL)))
    assert judged(landed) == [LANDED]
    assert body(after)["medx_lastsessionid"] == "sess-1"
    assert body(after)["@odata.etag"] != etag
    assert body(after, 1)["statecode"] == 1


def test_W2_the_same_change_set_again_changes_nothing_and_says_that_it_exists(crm: Crm) -> None:
    crm.seed_item()
    etag = body(crm.exchange(read()))["@odata.etag"]
    change_set = ChangeSet((create(), complete(), update(etag)))
    _, before, again, after = crm.in_turn((change_set,), (read(),), (change_set,), (read(),))
    assert judged(again) == [(Kind.AMBIGUOUS, Meaning.EXISTS)]
    assert body(after) == body(before)


def test_W7_a_stale_etag_rolls_the_whole_change_set_back(crm: Crm) -> None:
    crm.seed_item()
    refused, after = crm.in_turn((ChangeSet((create(), update('W/"1"'))),), (read(), read(CALLS, CALL)))
    assert judged(refused) == [(Kind.AMBIGUOUS, Meaning.CHANGED)]
    assert body(after)["medx_lastsessionid"] is None
    assert after.parts[1].judgement.status == 404


def test_W7_a_row_that_is_gone_is_not_created_by_an_update(crm: Crm) -> None:
    refused, after = crm.in_turn((ChangeSet((create(), update('W/"1"'))),), (read(), read(CALLS, CALL)))
    assert judged(refused) == [(Kind.AMBIGUOUS, Meaning.GONE)]
    assert [part.judgement.status for part in after.parts] == [404, 404]


def test_W5_one_failed_change_set_holds_up_no_other_of_its_batch(crm: Crm) -> None:
    crm.seed_item()
    first, second = an_id("first"), an_id("second")
    sent, after = crm.in_turn(
        (ChangeSet((create(first), update('W/"1"'))), ChangeSet((create(second),)), read()),
        (read(CALLS, first), read(CALLS, second)),
    )
    assert judged(sent) == [(Kind.AMBIGUOUS, Meaning.CHANGED), LANDED, LANDED]
    assert [part.judgement.status for part in after.parts] == [404, 204]


PARTY = {"partyid_account@odata.bind": f"/accounts({tenant.ACCOUNTS[0]})", "participationtypemask": 2}


def create_with_party(record_id: str = CALL) -> Request:
    return Request(
        "POST", CALLS, {}, {"activityid": record_id, "subject": "a call", "phonecall_activity_parties": [PARTY]}
    )


def test_W2_a_call_with_parties_is_created_once_under_the_id_that_was_chosen(crm: Crm) -> None:
    crm.seed_item()
    etag = body(crm.exchange(read()))["@odata.etag"]
    change_set = ChangeSet((create_with_party(), complete(), update(etag)))
    first, before, again, after = crm.in_turn(
        (change_set,), (read(), read(CALLS, CALL)), (change_set,), (read(), read(CALLS, CALL))
    )
    assert judged(first) == [LANDED]
    assert body(before, 1)["statecode"] == 1
    assert judged(again) == [(Kind.AMBIGUOUS, Meaning.EXISTS)]
    assert again.parts[0].failing == 0
    assert [body(after, part) for part in (0, 1)] == [body(before, part) for part in (0, 1)]


OPTIONS = {
    "bypass_business_logic": "CustomSync,CustomAsync", "bypass_flows": True, "detect_duplicates": True, "tag": "calls",
}  # fmt: skip


def test_W3_a_change_set_with_the_tenants_options_on_each_write_lands_as_one_without(crm: Crm) -> None:
    crm.seed_item()
    crm.options = OPTIONS
    etag = body(crm.exchange(read()))["@odata.etag"]
    landed, after = crm.in_turn((ChangeSet((create(), complete(), update(etag))),), (read(), read(CALLS, CALL)))
    assert judged(landed) == [LANDED]
    assert body(after)["medx_lastsessionid"] == "sess-1"
    assert body(after, 1)["statecode"] == 1
