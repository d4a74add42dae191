"""The page at `/`, in a real browser, driven through ChromeDriver's own HTTP interface."""

import base64
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.demo.waiting import HANGS_AFTER_S, wait_until
from simulator import tenant
from simulator.oplog import OperationLog
from simulator.testing import RunningSimulator
from tests.contract.simulator.support import RECORD
from tests.support.brokers.source import runs_under_ci

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

    def resize(self, width: int, height: int = 900) -> None:
        """The page as on a screen of this width; a window cannot be made as narrow as a telephone."""
        parameters = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        asked = {"cmd": "Emulation.setDeviceMetricsOverride", "params": parameters}
        self._http.post(f"{self._session}/goog/cdp/execute", json=asked)

    def text(self, selector: str) -> str:
        return str(self.run(f"return document.querySelector({selector!r}).textContent"))

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({selector!r}).click()")

    def wait(self, what: Callable[[], bool], seconds: float = HANGS_AFTER_S) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.text("body")
            time.sleep(0.05)

    def leave(self) -> None:
        """No page, and the window's own size."""
        self.open("about:blank")
        self._http.post(
            f"{self._session}/goog/cdp/execute", json={"cmd": "Emulation.clearDeviceMetricsOverride", "params": {}}
        )

    def picture(self, path: Path) -> None:
        value = self._http.get(f"{self._session}/screenshot").json()["value"]
        path.write_bytes(base64.b64decode(value))

    def close(self) -> None:
        self._http.delete(self._session)
        self._http.close()


@pytest.fixture(scope="session")
def one_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """To start one costs more than what is asked of it. Without one, skips the tests, or fails them under CI."""
    if not (CHROMIUM and DRIVER):
        (pytest.fail if runs_under_ci() else pytest.skip)(ABSENT)
    folder = tmp_path_factory.mktemp("browser")
    log = folder / "driver.log"
    with log.open("w") as out:
        driver = subprocess.Popen([DRIVER, "--port=0"], stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: "started successfully on port" in log.read_text(), what="ChromeDriver starts")
            port = log.read_text().rsplit("port ", 1)[1].strip().rstrip(".")
            found = Browser(f"http://127.0.0.1:{port}", folder / "profile")
            yield found
            found.close()
        finally:
            driver.terminate()
            driver.wait(HANGS_AFTER_S)


@pytest.fixture
def browser(one_browser: Browser) -> Iterator[Any]:
    """Each simulator has an address of its own, so nothing that a page keeps is another's."""
    yield one_browser
    one_browser.leave()


def queue_item(client: httpx.Client, name: Any) -> None:
    bind = {"medx_AccountId@odata.bind": f"/accounts({tenant.ACCOUNTS[0]})"}
    client.patch(f"medx_callqueueitems({RECORD})", json={"medx_name": name, "medx_phonenumber": "+15305550101", **bind})


def shown(simulator: RunningSimulator, client: httpx.Client, browser: Any, name: str) -> None:
    """The page, with a queue item of that name in its log."""
    queue_item(client, name)
    browser.open(f"{simulator.base_url}/")
    browser.wait(lambda: name in browser.text("#log"))


def test_the_page_shows_rows_log_and_limits_as_they_change(
    simulator: RunningSimulator, client: httpx.Client, browser: Any
) -> None:
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


def test_every_entry_of_the_log_is_shown_once_however_often_the_page_asks(
    simulator: RunningSimulator, client: httpx.Client, browser: Any
) -> None:
    browser.open(f"{simulator.base_url}/")
    browser.wait(lambda: browser.text("#state") == "live")
    queue_item(client, "Prospect 1")
    browser.run("for (let time = 0; time < 5; time++) refresh()")
    queue_item(client, "Prospect 2")
    browser.wait(lambda: "Prospect 2" in browser.text("#log"))
    numbers = browser.run("return [...document.querySelectorAll('#log .seq')].map((one) => one.textContent)")
    assert len(numbers) == len(set(numbers))


def test_the_log_starts_anew_with_the_simulator(
    simulator: RunningSimulator, client: httpx.Client, browser: Any
) -> None:
    shown(simulator, client, browser, "Prospect 1")
    simulator.call(lambda core: setattr(core.organization, "log", OperationLog()))
    queue_item(client, "Another life")
    browser.wait(lambda: "Another life" in browser.text("#log"))
    assert browser.text("#log").count("committed") == 1


def test_a_reset_by_somebody_else_leaves_no_entry_of_before_and_loses_none_since(
    simulator: RunningSimulator, client: httpx.Client, browser: Any
) -> None:
    shown(simulator, client, browser, "Prospect 1")
    simulator.call(lambda core: core.reset())
    queue_item(client, "Another life")
    browser.wait(lambda: "Another life" in browser.text("#log"))
    numbers = browser.run("return [...document.querySelectorAll('#log .seq')].map((one) => Number(one.textContent))")
    assert sorted(numbers) == [entry["seq"] for entry in simulator.oplog()]


def test_text_in_a_row_stays_text(simulator: RunningSimulator, client: httpx.Client, browser: Any) -> None:
    queue_item(client, "<img src=x onerror=\"document.title='owned'\">")
    browser.open(f"{simulator.base_url}/")
    browser.wait(lambda: "<img" in browser.text("#rows"))
    assert browser.run("return document.title") == "Dataverse simulator"


def test_the_switches_for_faults_work(simulator: RunningSimulator, client: httpx.Client, browser: Any) -> None:
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


def item(number: Any) -> str:
    return f"{RECORD[:-2]}{number:02d}"


def opened(simulator: RunningSimulator, browser: Any, client: httpx.Client, count: int = 3) -> None:
    for number in range(count):
        client.patch(f"medx_callqueueitems({item(number)})", json={"medx_name": f"Prospect {number}"})
    browser.open(f"{simulator.base_url}/")
    browser.wait(lambda: f"Prospect {count - 1}" in browser.text("#rows"))


def test_selection_focus_and_scroll_position_survive_a_refresh(
    simulator: RunningSimulator, client: httpx.Client, browser: Any
) -> None:
    opened(simulator, browser, client, 30)
    browser.run(
        "window.first = document.querySelector('#rows tbody tr');"
        f"document.querySelector('[data-id=\"{item(24)}\"]').focus({{preventScroll: true}});"
        "const text = document.querySelector('#rows tbody tr:nth-child(3) td:nth-child(2)');"
        "getSelection().selectAllChildren(text);"
        "document.querySelector('#rows .scroll').scrollTop = 7"
    )
    client.patch(f"medx_callqueueitems({item(28)})", json={"medx_name": "Renamed"})
    client.patch(f"medx_callqueueitems({item(30)})", json={"medx_name": "Newest"})
    browser.wait(lambda: "Renamed" in browser.text("#rows") and "Newest" in browser.text("#rows"))
    kept = browser.run(
        "return [document.activeElement.dataset.id, String(getSelection()),"
        " document.querySelectorAll('#rows tbody tr')[1] === window.first,"
        " document.querySelector('#rows .scroll').scrollTop]"
    )
    assert kept[:3] == [item(24), "Prospect 27", True]
    assert kept[3] > 0


def test_the_filter_shows_the_rows_with_a_text(simulator: RunningSimulator, client: httpx.Client, browser: Any) -> None:
    opened(simulator, browser, client)
    browser.run("document.querySelector('#filter').value = 'prospect 1'")
    browser.run("document.querySelector('#filter').dispatchEvent(new Event('input'))")
    browser.wait(lambda: "Prospect 2" not in browser.text("#rows"))
    assert "Prospect 1" in browser.text("#rows tbody")
    assert "of 3" in browser.text("#row-count")


def test_a_row_shows_its_history_and_is_edited_as_a_person_would(
    simulator: RunningSimulator, client: httpx.Client, browser: Any
) -> None:
    opened(simulator, browser, client)
    browser.click(f"[data-id='{item(1)}']")
    browser.wait(lambda: "committed create" in browser.text("#detail"))
    browser.run(
        "const form = document.querySelector('.row-form').elements; form.medx_notes.value = 'Seen';"
        "form.medx_callstatus.value = '1'; form.medx_donotcall.value = 'true'"
    )
    browser.run("document.querySelector('.row-form').requestSubmit()")
    browser.wait(lambda: "committed update" in browser.text("#detail"))
    entry = simulator.oplog(operation="update")[-1]
    assert entry["actor"] == "person"
    changed = {name: value for name, (_, value) in entry["changes"].items() if name.startswith("medx_")}
    assert changed == {"medx_notes": "Seen", "medx_callstatus": 1, "medx_donotcall": True}


def test_an_edit_that_is_refused_says_why(simulator: RunningSimulator, client: httpx.Client, browser: Any) -> None:
    opened(simulator, browser, client)
    browser.click(f"[data-id='{item(1)}']")
    browser.wait(lambda: "committed create" in browser.text("#detail"))
    browser.run("document.querySelector('.row-form').elements.medx_name.value = 'x'.repeat(5000)")
    browser.run("document.querySelector('.row-form').requestSubmit()")
    browser.wait(lambda: "exceeded the maximum allowed length" in browser.text("#detail"))


def test_a_request_shows_its_status_its_fault_and_its_bodies(
    simulator: RunningSimulator, client: httpx.Client, browser: Any
) -> None:
    opened(simulator, browser, client)
    client.patch(f"tasks({RECORD})", json={"subject": "Wanted"}, headers={"If-Match": "*"})
    browser.wait(lambda: "404" in browser.text("#requests tbody tr"))
    browser.click("#requests tbody button")
    browser.wait(lambda: "Wanted" in browser.text("#detail") and "Does Not Exist" in browser.text("#detail"))


def test_a_write_whose_answer_was_cut_looks_like_it_in_both_logs(
    simulator: RunningSimulator, client: httpx.Client, browser: Any
) -> None:
    opened(simulator, browser, client)
    simulator.fault(do=[{"kind": "cut", "moment": "applied"}])
    with pytest.raises(httpx.TransportError):
        client.patch(f"tasks({RECORD})", json={"subject": "x"})
    for place in ("#log li.lost-answer", "#requests tr.lost-answer"):
        browser.wait(lambda place=place: bool(browser.run(f"return document.querySelector('{place}') !== null")))
        assert "carried out, never answered" in browser.text(place)
    style = browser.run("return getComputedStyle(document.querySelector('#requests .unsent')).textDecorationLine")
    assert style == "line-through"


def test_it_says_how_to_connect(simulator: RunningSimulator, browser: Any) -> None:
    browser.open(f"{simulator.base_url}/")
    browser.wait(lambda: f"curl {simulator.api_url}/WhoAmI" in browser.text("#commands"))
    assert tenant.CLIENT_SECRET in browser.text("#connect dl")
    assert f"{simulator.authority}/{tenant.TENANT_ID}/oauth2/v2.0/token" in browser.text("#commands")


def test_switches_snapshots_and_reset(simulator: RunningSimulator, client: httpx.Client, browser: Any) -> None:
    opened(simulator, browser, client)
    browser.wait(lambda: browser.run("return document.querySelector('[name=edit_completed]') !== null"))
    browser.run("document.querySelector('[name=edit_completed]').value = 'refuse'")
    browser.run("document.querySelector('[name=edit_completed]').dispatchEvent(new Event('change'))")
    browser.wait(lambda: simulator.call(lambda core: core.organization.switches.edit_completed) == "refuse")
    browser.run("document.querySelector('#take').elements.name.value = 'before'")
    browser.run("document.querySelector('#take').requestSubmit()")
    browser.wait(lambda: "before" in browser.text("#snapshots"))
    client.delete(f"medx_callqueueitems({item(1)})")
    browser.click("[data-back=before]")
    browser.wait(lambda: len(simulator.rows("medx_callqueueitems")) == 3)
    browser.run("window.confirm = () => true")
    browser.click("#reset")
    browser.wait(lambda: simulator.rows("medx_callqueueitems") == [])
    browser.wait(lambda: browser.text("#log").count("committed") == len(simulator.oplog()))
    browser.wait(lambda: browser.run("return document.querySelector('[name=edit_completed]').value") == "allow")
    simulator.call(lambda core: core.snapshots.clear())


@pytest.mark.parametrize("width", [400, 1280])
def test_everything_fits_the_width(simulator: RunningSimulator, client: httpx.Client, browser: Any, width: int) -> None:
    """Nothing sticks out, and bars and numbers have room."""
    browser.resize(width)
    opened(simulator, browser, client)
    browser.wait(lambda: bool(browser.run("return document.querySelector('.limit') !== null")))
    assert browser.run("return document.documentElement.scrollWidth") <= width
    places = browser.run(
        "return [...document.querySelectorAll("
        "'section, .limit .bar, .limit .used, #rate, .command code, #switches select, dd')]"
        ".map((one) => [one.id || one.className || one.textContent, one.getBoundingClientRect()])"
        ".map(([name, box]) => [name, box.left, box.right, box.width, box.height])"
    )
    for name, left, right, wide, high in places:
        assert left >= 0, name
        assert right <= width, name
        assert min(wide, high) > 0, name
    bars = [wide for name, _, _, wide, _ in places if name == "bar"]
    assert min(bars) > 100


def test_a_picture_of_the_page(simulator: RunningSimulator, client: httpx.Client, browser: Any, tmp_path: Path) -> None:
    client.patch(f"tasks({RECORD})", json={}, headers={"If-Match": "*"})
    opened(simulator, browser, client)
    picture = Path(os.environ.get("SIMULATOR_PAGE_PICTURE", tmp_path / "page.png"))
    browser.picture(picture)
    assert picture.stat().st_size > 20_000


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/page/page.css", "text/css"),
        ("/page/page.js", "text/javascript"),
        ("/page/dom.js", "text/javascript"),
    ],
)
def test_the_pages_files(simulator: RunningSimulator, path: str, kind: str) -> None:
    answer = httpx.get(f"{simulator.base_url}{path}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith(kind)


@pytest.mark.parametrize(
    "path", ["/page/nosuch.js", "/page/__init__.py", "/page/../service.py", "/page/%2e%2e/service.py", "/nosuch"]
)
def test_nothing_else_is_served(simulator: RunningSimulator, path: str) -> None:
    assert httpx.get(f"{simulator.base_url}{path}").status_code == 404
