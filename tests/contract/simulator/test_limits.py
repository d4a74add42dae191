"""Service protection over the wire: three limits, real headers, several servers."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.contract.simulator.support import BatchBody, error_of, parts_of

NO_COOKIES = {"Cookie": ""}


def limited(**limits: Any) -> Any:
    return running_simulator(auth="none", limits=limits)


def get(simulator: RunningSimulator, **headers: Any) -> Any:
    return httpx.get(f"{simulator.api_url}/WhoAmI", headers=headers)


def test_every_answer_says_what_is_left() -> None:
    with limited() as simulator:
        headers = get(simulator).headers
    assert headers["x-ms-ratelimit-burst-remaining-xrm-requests"] == "5999"
    assert headers["x-ms-ratelimit-time-remaining-xrm-requests"] == "1,200.00"
    assert headers["x-ms-dop-hint"] == "48"


def test_requests_beyond_the_limit_are_429_and_do_nothing() -> None:
    with limited(requests=3) as simulator:
        for left in (2, 1, 0):
            assert get(simulator).headers["x-ms-ratelimit-burst-remaining-xrm-requests"] == str(left)
        answer = httpx.post(f"{simulator.api_url}/tasks", json={"subject": "x"})
        assert error_of(answer) == (429, "0x80072322")
        assert answer.json()["error"]["message"] == (
            "Number of requests exceeded the limit of 3 over time window of 300 seconds."
        )
        assert answer.headers["Retry-After"].isdigit()
        assert simulator.rows("tasks") == []


def test_whoever_keeps_sending_waits_longer() -> None:
    with limited(requests=1) as simulator:
        waits = [int(answer.headers["Retry-After"]) for answer in [get(simulator) for _ in range(4)][1:]]
    assert waits == sorted(waits)
    assert waits[-1] > waits[0]


def test_execution_time_beyond_the_limit_is_429() -> None:
    with limited(execution_seconds=0.2) as simulator:
        httpx.put(f"{simulator.control_url}/latency", json={"seconds": 0.25})
        assert get(simulator).status_code == 200
        answer = get(simulator)
    assert error_of(answer) == (429, "0x80072321")
    assert answer.json()["error"]["message"] == (
        "Combined execution time of incoming requests exceeded limit of 200  milliseconds over time window of 300"
        " seconds. Decrease number of concurrent requests or reduce the duration of requests and try again later."
    )


def test_too_many_at_once_are_429_at_once() -> None:
    with limited(concurrent=2) as simulator:
        httpx.put(f"{simulator.control_url}/latency", json={"seconds": 2.0})
        with ThreadPoolExecutor(6) as pool:
            answers = [task.result() for task in [pool.submit(get, simulator) for _ in range(6)]]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) == 4
        assert error_of(refused[0]) == (429, "0x80072326")
        assert refused[0].json()["error"]["message"] == "Number of concurrent requests exceeded the limit of 2."
        assert simulator.call(lambda core: core.counters())["limits"][0]["concurrent_peak"] == 2


def test_users_do_not_share_limits() -> None:
    with limited(requests=1) as simulator:
        assert get(simulator).status_code == 200
        assert get(simulator).status_code == 429
        assert get(simulator, **{"x-simulator-user": tenant.SECOND_APPLICATION_USER}).status_code == 200


class TestServers:
    def server_of(self, answer: Any) -> Any:
        (affinity,) = re.findall(r"ARRAffinity=([0-9a-f]+)", answer.headers["Set-Cookie"])
        return int(affinity, 16)

    def test_without_a_cookie_requests_are_spread(self) -> None:
        with limited(servers=3) as simulator:
            assert {self.server_of(get(simulator)) for _ in range(40)} == {0, 1, 2}

    def test_the_cookie_pins_one(self) -> None:
        with limited(servers=3) as simulator, httpx.Client(base_url=simulator.api_url) as client:
            first = self.server_of(client.get("/WhoAmI"))
            assert {self.server_of(client.get("/WhoAmI")) for _ in range(20)} == {first}

    def test_servers_do_not_share_limits(self) -> None:
        with limited(servers=2, requests=5) as simulator:
            ok = sum(get(simulator).status_code == 200 for _ in range(60))
        assert ok == 10

    def test_a_pinned_client_gets_one_servers_worth(self) -> None:
        with limited(servers=2, requests=5) as simulator, httpx.Client(base_url=simulator.api_url) as client:
            assert sum(client.get("/WhoAmI").status_code == 200 for _ in range(30)) == 5

    def test_the_same_seed_chooses_the_same_servers(self) -> None:
        chosen = []
        for _ in range(2):
            with running_simulator(auth="none", seed=5, limits={"servers": 4}) as simulator:
                chosen.append([self.server_of(get(simulator)) for _ in range(20)])
        assert chosen[0] == chosen[1]

    def test_without_affinity_there_is_no_cookie(self) -> None:
        with limited(servers=2, affinity=False) as simulator:
            assert "Set-Cookie" not in get(simulator).headers


def test_limits_can_be_changed_while_it_runs() -> None:
    with limited() as simulator:
        assert httpx.put(f"{simulator.control_url}/limits", json={"requests": 1}).json()["requests"] == 1
        assert [get(simulator).status_code for _ in range(2)] == [200, 429]
        httpx.put(f"{simulator.control_url}/limits", json={"enabled": False})
        assert get(simulator).status_code == 200


@pytest.mark.parametrize("facet", ["requests", "time", "concurrency"])
def test_throttled_now(facet: str) -> None:
    code = {"requests": "0x80072322", "time": "0x80072321", "concurrency": "0x80072326"}[facet]
    with limited() as simulator:
        asked = {"user": tenant.APPLICATION_USER, "facet": facet, "seconds": 60}
        httpx.post(f"{simulator.control_url}/throttle", json=asked)
        answer = get(simulator)
    assert error_of(answer) == (429, code)
    assert 60 <= int(answer.headers["Retry-After"]) <= 64


def test_a_batch_is_one_request() -> None:
    with limited(requests=2) as simulator, httpx.Client(base_url=f"{simulator.api_url}/") as client:
        for _ in range(2):
            body = BatchBody()
            for _ in range(50):
                body.bare("GET", "WhoAmI")
            assert body.send(client).status_code == 200
        refused = BatchBody().bare("GET", "WhoAmI").send(client)
    assert refused.status_code == 429
    assert refused.headers["Content-Type"].startswith("application/json")


def test_what_is_used_shows_in_the_counters() -> None:
    with limited(requests=10) as simulator:
        for _ in range(3):
            get(simulator)
        (row,) = httpx.get(f"{simulator.control_url}/counters").json()["limits"]
    assert (row["user"], row["requests"], row["requests_limit"], row["throttled"]) == (
        tenant.APPLICATION_USER,
        3,
        10,
        0,
    )


@pytest.mark.parametrize(
    ("prefer", "status", "parts"), [("", 429, [429]), ("odata.continue-on-error", 200, [429, 429])]
)
def test_by_switch_the_parts_of_a_batch_are_throttled_instead(prefer: str, status: int, parts: Any) -> None:
    with limited() as simulator, httpx.Client(base_url=f"{simulator.api_url}/") as client:
        httpx.put(f"{simulator.control_url}/switches", json={"throttle_parts": "yes"})
        httpx.post(f"{simulator.control_url}/throttle", json={"user": tenant.APPLICATION_USER, "seconds": 60})
        body = BatchBody().change_set(("POST", "tasks", {})).bare("POST", "tasks", {})
        answer = body.send(client, Prefer=prefer)
        assert (answer.status_code, [part.status for part in parts_of(answer)]) == (status, parts)
        assert simulator.rows("tasks") == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests": "many"}, {"requests": -1}, {"servers": 0}, {"servers": 1.5}, {"time_scale": 0}, {"concurrent": 0},
        {"window_seconds": 0}, {"execution_seconds": -1}, {"enabled": "perhaps"}, {"nosuch": 1}, [1],
    ],
    ids=str,
)  # fmt: skip
def test_limits_that_make_no_sense_are_refused_and_change_nothing(wrong: Any) -> None:
    with limited() as simulator:
        before = httpx.get(f"{simulator.control_url}/limits").json()
        answer = httpx.put(f"{simulator.control_url}/limits", json=wrong)
        assert answer.status_code == 400, answer.text
        assert httpx.get(f"{simulator.control_url}/limits").json() == before
        assert get(simulator).status_code == 200
