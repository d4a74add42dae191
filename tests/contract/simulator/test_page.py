"""The page at `/`, in a real browser, driven through ChromeDriver's own HTTP interface."""

import base64
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.waiting import HANGS_AFTER_S
from simulator import tenant
from simulator.oplog import OperationLog
from tests.brokers.source import runs_under_ci
from tests.contract.simulator.support import RECORD

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1440,900",
)
ABSENT = "no browser: install Debian's packages chromium and chromium-driver"


class Browser:
    """A WebDriver session over plain HTTP."""

    def __init__(self, driver_url: str, profile: Path) -> None:
        self._http = httpx.Client(base_url=driver_url, timeout=HANGS_AFTER_S)
        options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        asked = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self._session = f"/session/{self._http.post('/session', json=asked).json()['value']['sessionId']}"

    def open(self, url: str) -> None:
        self._http.post(f"{self._session}/url", json={"url": url})

    def run(self, script: str) -> Any:
        answer = self._http.post(f"{self._session}/execute/sync", json={"script": script, "args": []})
        return answer.json()["value"]

    def text(self, selector: str) -> str:
        return str(self.run(f"return document.querySelector({selector!r}).textContent"))

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({selector!r}).click()")

    def wait(self, what: Callable[[], bool], seconds: float = HANGS_AFTER_S) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.text("body")

    def picture(self, path: Path) -> None:
        value = self._http.get(f"{self._session}/screenshot").json()["value"]
        path.write_bytes(base64.b64decode(value))

    def close(self) -> None:
        self._http.delete(self._session)
        self._http.close()


@pytest.fixture
def browser(tmp_path):
    """Skips the test, or fails it under CI, if there is none."""
    if not (CHROMIUM and DRIVER):
        (pytest.fail if runs_under_ci() else pytest.skip)(ABSENT)
    log = tmp_path / "driver.log"
    with log.open("w") as out:
        driver = subprocess.Popen([DRIVER, "--port=0"], stdout=out, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + HANGS_AFTER_S
            while "started successfully on port" not in log.read_text():
                assert time.monotonic() < deadline, log.read_text()
            port = log.read_text().rsplit("port ", 1)[1].strip().rstrip(".")
            found = Browser(f"http://127.0.0.1:{port}", tmp_path / "profile")
            yield found
            found.close()
        finally:
            driver.terminate()
            driver.wait(20)


def queue_item(client, name):
    bind = {"medx_AccountId@odata.bind": f"/accounts({tenant.ACCOUNTS[0]})"}
    client.patch(f"medx_callqueueitems({RECORD})", json={"medx_name": name, "medx_phonenumber": "+15305550101", **bind})


def test_the_page_shows_rows_log_and_limits_as_they_change(simulator, client, browser):
    queue_item(client, "Prospect 1")
    browser.open(f"{simulator.base_url}/")
    browser.wait(lambda: browser.text("#state") == "live")
    browser.wait(lambda: "Prospect 1" in browser.text("#rows"))
    assert "committed create medx_callqueueitem" in browser.text("#log")
    assert "medx_callqueueitem1" in browser.text("#tables")
    queue_item(client, "Renamed")
    client.patch(f"tasks({RECORD})", json={}, headers={"If-Match": "*"})
    browser.wait(lambda: "Renamed" in browser.text("#rows"))
    browser.wait(lambda: "refused patch" in browser.text("#log"))
    assert "at the same time" in browser.text("#limits")
    browser.click("[data-table=account]")
    browser.wait(lambda: "Account 10" in browser.text("#rows"))


def test_every_entry_of_the_log_is_shown_once_however_often_the_page_asks(simulator, client, browser):
    browser.open(f"{simulator.base_url}/")
    browser.wait(lambda: browser.text("#state") == "live")
    queue_item(client, "Prospect 1")
    browser.run("for (let time = 0; time < 5; time++) refresh()")
    queue_item(client, "Prospect 2")
    browser.wait(lambda: "Prospect 2" in browser.text("#log"))
    numbers = browser.run("return [...document.querySelectorAll('#log .seq')].map((one) => one.textContent)")
    assert len(numbers) == len(set(numbers))


def test_the_log_starts_anew_with_the_simulator(simulator, client, browser):
    queue_item(client, "Prospect 1")
    browser.open(f"{simulator.base_url}/")
    browser.wait(lambda: "Prospect 1" in browser.text("#log"))
    simulator.call(lambda core: setattr(core.organization, "log", OperationLog()))
    queue_item(client, "Another life")
    browser.wait(lambda: "Another life" in browser.text("#log"))
    assert "Prospect 1" not in browser.text("#log")


def test_text_in_a_row_stays_text(simulator, client, browser):
    queue_item(client, "<img src=x onerror=\"document.title='owned'\">")
    browser.open(f"{simulator.base_url}/")
    browser.wait(lambda: "<img" in browser.text("#rows"))
    assert browser.run("return document.title") == "Dataverse simulator"


def test_the_switches_for_faults_work(simulator, client, browser):
    browser.open(f"{simulator.base_url}/")
    browser.wait(lambda: browser.text("#state") == "live")
    browser.click("[data-fault='503']")
    browser.wait(lambda: "fired 0 of 1" in browser.text("#armed"))
    assert client.get("WhoAmI").status_code == 503
    browser.wait(lambda: "fired 1 of 1" in browser.text("#armed"))
    browser.click("[data-fault=clear]")
    browser.wait(lambda: browser.text("#armed") == "")
    browser.click("[data-fault=unanswered]")
    browser.wait(lambda: "cut" in browser.text("#armed"))
    with pytest.raises(httpx.TransportError):
        client.post("tasks", json={"subject": "x"})
    assert len(simulator.rows("tasks")) == 1


def test_a_picture_of_the_page(simulator, client, browser, tmp_path):
    for name in ("Prospect 1", "Prospect 2", "Prospect 3"):
        queue_item(client, name)
    client.patch(f"tasks({RECORD})", json={}, headers={"If-Match": "*"})
    browser.open(f"{simulator.base_url}/")
    browser.wait(lambda: "Prospect 3" in browser.text("#rows"))
    picture = Path(os.environ.get("SIMULATOR_PAGE_PICTURE", tmp_path / "page.png"))
    browser.picture(picture)
    assert picture.stat().st_size > 20_000


@pytest.mark.parametrize(
    ("path", "kind"), [("/", "text/html"), ("/page/page.css", "text/css"), ("/page/page.js", "text/javascript")]
)
def test_the_pages_files(simulator, path, kind):
    answer = httpx.get(f"{simulator.base_url}{path}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith(kind)


@pytest.mark.parametrize(
    "path", ["/page/nosuch.js", "/page/__init__.py", "/page/../service.py", "/page/%2e%2e/service.py", "/nosuch"]
)
def test_nothing_else_is_served(simulator, path):
    assert httpx.get(f"{simulator.base_url}{path}").status_code == 404
