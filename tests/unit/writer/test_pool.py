"""Several identities as one way to Dataverse."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from tests.contract.writer.fake_dataverse import FakeDataverse
from tests.support.factories import an_id
from tests.unit.writer.workbench import make_pool
from writer.core.batch import ChangeSet, Request
from writer.core.replies import Kind, Meaning
from writer.core.sign_in import SignInFault, SignInTrouble
from writer.dataverse.pool import Pool
from writer.errors import SignInRefused
from writer.metrics import Metrics

READ = Request("GET", f"medx_callqueueitems({an_id('item')})")
WRITE = ChangeSet((Request("PATCH", f"phonecalls({an_id('call')})", {"If-None-Match": "*"}, {"subject": "s"}),))


def throttled(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(429, headers={"Retry-After": "30"}, json={"error": {"code": "0x80072322", "message": "no"}})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def run(scenario: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(scenario)


def sent(pool: Pool, fake: FakeDataverse, *parts: Request | ChangeSet) -> Any:
    return run(pool.exchange(parts or (READ,), operation="read"))


def test_a_retry_after_holds_up_whoever_was_told_and_nobody_else() -> None:
    busy, free = FakeDataverse(before=throttled), FakeDataverse()

    async def scenario() -> None:
        pool = make_pool(busy, free, metrics=metrics)
        for _ in range(10):
            await pool.exchange([READ], operation="read")

    metrics = Metrics()
    run(scenario())
    assert (len(busy.requests), len(free.requests)) == (1, 9)
    waited = metrics.registry.get_sample_value("writeback_throttle_wait_seconds_total", {"identity": "none-0"})
    assert waited == pytest.approx(30, abs=1)


@pytest.mark.parametrize("header", ["0", "-5", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_W6_being_told_to_wait_for_no_time_is_waited_for_all_the_same(header: str) -> None:
    busy = FakeDataverse(before=lambda _: httpx2.Response(429, headers={"Retry-After": header}))

    async def scenario() -> float:
        clock = Clock()
        pool = make_pool(busy, clock=clock)
        for _ in range(3):
            await pool.exchange([READ], operation="read")
            clock.now = pool.channels[0].pacer.held_until
        return clock.now

    assert run(scenario()) == 2 + 4 + 8


def test_W6_a_server_in_trouble_that_names_a_day_holds_up_its_identity_only_and_for_less() -> None:
    down = FakeDataverse(before=lambda _: httpx2.Response(503, headers={"Retry-After": "86400"}))
    fine = FakeDataverse()

    async def scenario() -> tuple[float, list[Any]]:
        pool = make_pool(down, fine)
        with capture_logs() as lines:
            for _ in range(10):
                await pool.exchange([READ], operation="read")
        return pool.channels[0].pacer.held_until - time.monotonic(), lines

    waits, lines = run(scenario())
    assert (len(down.requests), len(fine.requests)) == (1, 9)
    assert waits == pytest.approx(900, abs=5)
    assert [(line["event"], line["identity"], line["asked_seconds"], line["waits_seconds"]) for line in lines] == [
        ("identity.waits", "none-0", 86_400.0, 900)
    ]


def test_W6_a_day_that_the_crm_itself_names_is_obeyed_in_full() -> None:
    words = {"error": {"code": "0x80040216", "message": "maintenance"}}
    down = FakeDataverse(before=lambda _: httpx2.Response(503, headers={"Retry-After": "86400"}, json=words))

    async def scenario() -> float:
        pool = make_pool(down)
        await pool.exchange([READ], operation="read")
        return pool.channels[0].pacer.held_until - time.monotonic()

    assert run(scenario()) == pytest.approx(86_400, abs=5)


def test_W6_with_everybody_throttled_a_place_is_waited_for() -> None:
    async def scenario() -> None:
        pool = make_pool(FakeDataverse(before=throttled))
        await pool.exchange([READ], operation="read")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await pool.exchange([READ], operation="read")
        assert pool.identities.questions == 0, "it does not wait any more"

    run(scenario())


def test_a_request_that_is_cancelled_gives_its_slot_back() -> None:
    async def scenario() -> None:
        pool = make_pool(fake)
        with pytest.raises(asyncio.CancelledError):
            await pool.exchange([READ], operation="read")
        assert pool.channels[0].pacer.in_flight == 0

    def cancelled(request: httpx2.Request) -> None:
        raise asyncio.CancelledError

    fake = FakeDataverse(before=cancelled)
    run(scenario())


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, headers={"content-type": "multipart/mixed; boundary=b"}, content=b"--b\r\ncut"),
        httpx2.Response(200, text="<html>Welcome</html>"),
        httpx2.Response(204),
    ],
)
def test_W2_an_answer_that_cannot_be_read_counts_as_lost(answer: httpx2.Response) -> None:
    fake = FakeDataverse(before=lambda _: answer)
    exchange = sent(make_pool(fake), fake, WRITE, WRITE)
    assert {part.judgement.kind for part in exchange.parts} == {Kind.AMBIGUOUS}


def test_an_identity_whose_sign_in_fails_rests_and_the_others_work() -> None:
    class Refused(FakeDataverse):
        """Its identity never gets a token."""

    async def scenario() -> None:
        pool = make_pool(Refused(), good)
        broken = pool.channels[0]

        async def refuse(_: object) -> None:
            raise SignInRefused("none-0", SignInFault(SignInTrouble.SECRET_WRONG, "AADSTS7000215"))

        broken.dataverse.send = refuse  # type: ignore[method-assign,assignment]
        first = await pool.who_am_i(broken)
        assert first.meaning is Meaning.SIGN_IN
        assert not broken.signed_in
        for _ in range(5):
            exchange = await pool.exchange([READ], operation="read")
            assert exchange.whole.kind is Kind.DONE

    good = FakeDataverse()
    run(scenario())
    assert len(good.requests) == 5


def test_the_services_hint_limits_how_many_requests_go_out_at_once() -> None:
    async def scenario() -> None:
        pool = make_pool(FakeDataverse(before=hint))
        await pool.who_am_i(pool.channels[0])
        assert pool.channels[0].signed_in
        assert pool.identities.room(time.monotonic()) == 2

    def hint(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"x-ms-dop-hint": "2"}, json={"UserId": "1"})

    run(scenario())


def test_W6_parts_after_the_one_where_the_service_stopped_were_not_tried() -> None:
    stopped = (
        b"--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\r\n"
        b'{"error":{"code":"0x0","message":""}}\r\n--b--\r\n'
    )
    answer = httpx2.Response(400, headers={"content-type": "multipart/mixed; boundary=b"}, content=stopped)
    fake = FakeDataverse(before=lambda _: answer)
    first, second = sent(make_pool(fake), fake, WRITE, WRITE).parts
    assert first.judgement.kind is Kind.PERMANENT
    assert second.not_tried


@pytest.mark.parametrize(
    ("outside", "inside", "waits"), [(None, ("5", "240"), 240), ("240", (None, None), 240), ("5", ("60", None), 60)]
)
def test_W6_the_longest_time_that_throttling_names_counts_wherever_it_stands(
    outside: str | None, inside: tuple[str | None, ...], waits: float
) -> None:
    part = (
        "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        "HTTP/1.1 429 X\r\n{}Content-Type: application/json\r\n\r\n"
        '{{"error":{{"code":"0x80072322","message":""}}}}\r\n'
    )
    named = ["" if each is None else f"Retry-After: {each}\r\n" for each in (outside, *inside)]
    headers = {"content-type": "multipart/mixed; boundary=b"} | ({"Retry-After": outside} if outside else {})
    content = "".join(part.format(each) for each in named[1:]) + "--b--\r\n"
    fake = FakeDataverse(before=lambda _: httpx2.Response(429, headers=headers, text=content))
    pool = make_pool(fake)
    assert [part.judgement.kind for part in sent(pool, fake, WRITE, WRITE).parts] == [Kind.THROTTLED, Kind.THROTTLED]
    assert pool.channels[0].pacer.held_until - time.monotonic() == pytest.approx(waits, abs=5)


@pytest.mark.parametrize(("status", "held"), [(429, True), (503, False)])
def test_W5_trouble_of_one_part_holds_up_its_identity_only_if_it_is_throttling(status: int, held: bool) -> None:
    answered = (
        b"--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        b"HTTP/1.1 %d X\r\nRetry-After: 60\r\nContent-Type: application/json\r\n\r\n"
        b'{"error":{"code":"","message":""}}\r\n--b--\r\n' % status
    )
    answer = httpx2.Response(200, headers={"content-type": "multipart/mixed; boundary=b"}, content=answered)
    fake = FakeDataverse(before=lambda _: answer)
    pool = make_pool(fake)
    assert sent(pool, fake, WRITE).parts[0].judgement.status == status
    assert (pool.channels[0].pacer.held_until > time.monotonic()) is held


def test_requests_are_counted_by_operation_and_class_of_reply() -> None:
    metrics, fake = Metrics(), FakeDataverse()
    pool = make_pool(fake, metrics=metrics)
    sent(pool, fake)
    value = metrics.registry.get_sample_value
    assert value("writeback_requests_total", {"operation": "read", "class": "done"}) == 1
