"""The queue side of the CRM, over the Web API: which items are ready, take one; and a person at the same rows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import aiohttp

from schemas.records import Baseline, QueueStatus
from simulator import tenant
from simulator.callsystem.prospects import Prospect

SET = "medx_callqueueitems"
STATUSES = (
    QueueStatus.READY, QueueStatus.IN_PROGRESS, QueueStatus.COMPLETED, QueueStatus.BLOCKED, QueueStatus.DNC,
)  # fmt: skip
# Beside the fields that a baseline has of its own: what has to be compared before anything is overwritten.
PRESERVED = ("medx_notes", "medx_priority", "medx_lastdisposition", "medx_lasterror", "medx_nextattemptat")
_COLUMNS = (
    "medx_callqueueitemid", "medx_callstatus", "medx_lastsessionid", "medx_attemptcount", "medx_donotcall",
    "medx_phonenumber", "_medx_accountid_value", "_medx_campaignid_value", "_medx_taskownerid_value", *PRESERVED,
)  # fmt: skip
_SELECT = ",".join(_COLUMNS)
_PAGE = 500
_TRIES = 8


class CrmUnavailable(Exception):
    """The CRM did not answer sensibly, after several tries. The run ends; the ledger has what was published."""


class UnknownCampaign(Exception):
    """The campaign does not exist."""


@dataclass(frozen=True, slots=True)
class Item:
    """A queue item as it was read."""

    row: dict[str, Any]
    etag: str
    read_at: datetime

    @classmethod
    def of_claim(cls, found: dict[str, Any]) -> Self:
        """From what the command that claims items prints of one."""
        baseline, account = found["baseline"], found["account"]
        row = {
            "medx_callqueueitemid": found["queue_item_id"],
            "medx_callstatus": STATUSES.index(QueueStatus(baseline["status"])),
            "medx_lastsessionid": baseline["last_session_id"],
            "medx_attemptcount": baseline["attempt_count"],
            "medx_donotcall": baseline["do_not_call"],
            "medx_phonenumber": found["phone_number"],
            "_medx_accountid_value": account and account["id"],
            "_medx_campaignid_value": found["campaign_id"],
            "_medx_taskownerid_value": found["owner_override"],
            **baseline["preserved"],
        }
        return cls(row, baseline["etag"], datetime.fromisoformat(baseline["captured_at"]))

    @property
    def id(self) -> str:
        return str(self.row["medx_callqueueitemid"])

    @property
    def taken(self) -> bool:
        """Somebody calls it now, or did when the process was ended."""
        return bool(self.row["medx_callstatus"] == STATUSES.index(QueueStatus.IN_PROGRESS))

    @property
    def phone_number(self) -> str | None:
        number = self.row["medx_phonenumber"]
        return None if number is None else str(number)

    @property
    def baseline(self) -> Baseline:
        """What the outcome has to carry back."""
        status = self.row["medx_callstatus"]
        return Baseline(
            captured_at=self.read_at,
            etag=self.etag,
            status=None if status is None else STATUSES[status],
            last_session_id=self.row["medx_lastsessionid"],
            attempt_count=self.row["medx_attemptcount"],
            do_not_call=self.row["medx_donotcall"],
            preserved={name: self.row[name] for name in PRESERVED},
        )


class Crm:
    """The Web API and, for what only a person does, the simulator's control endpoint."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._api = f"{url.rstrip('/')}/api/data/v9.2"
        self._control = f"{url.rstrip('/')}/_control"

    @classmethod
    @asynccontextmanager
    async def at(cls, url: str, token: str) -> AsyncIterator[Self]:
        """A connection for the length of the block."""
        headers = {
            "Accept": "application/json",
            "OData-MaxVersion": "4.0",
            "OData-Version": "4.0",
            "Authorization": f"Bearer {token}",
            "x-simulator-user": tenant.CALL_SYSTEM_USER,
        }
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(
            headers=headers, cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=130)
        ) as http:
            yield cls(http, url)

    async def check_campaign(self, campaign: str) -> None:
        status, _ = await self._ask("GET", f"{self._api}/campaigns({campaign})?$select=name")
        if status != 200:
            raise UnknownCampaign(campaign)

    async def ready(self, campaign: str) -> AsyncIterator[Item]:
        """Ready items of a campaign whose next attempt is not in the future: never tried first, then by age.

        Ready by the status and by the do-not-call flag: a person may have set one and not the other.
        """
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = (
            f"medx_callstatus eq 0 and (medx_donotcall eq false or medx_donotcall eq null)"
            f" and _medx_campaignid_value eq {campaign}"
            f" and (medx_nextattemptat eq null or medx_nextattemptat le {now})"
        )
        order = "medx_nextattemptat asc,createdon asc,medx_callqueueitemid asc"
        url: str | None = f"{self._api}/{SET}?$select={_SELECT}&$filter={condition}&$orderby={order}"
        while url is not None:
            status, page = await self._ask("GET", url, headers={"Prefer": f"odata.maxpagesize={_PAGE}"})
            if status != 200:
                raise CrmUnavailable(f"the queue could not be read: {status}")
            for row in page["value"]:
                yield Item(row, row["@odata.etag"], datetime.now(UTC))
            url = page.get("@odata.nextLink")

    async def claim(self, item: Item) -> Item | None:
        """Take the item, under its etag. None when somebody else was faster."""
        status, row = await self._ask(
            "PATCH",
            f"{self._api}/{SET}({item.id})?$select={_SELECT}",
            headers={"If-Match": item.etag, "Prefer": "return=representation"},
            json={"medx_callstatus": STATUSES.index(QueueStatus.IN_PROGRESS)},
        )
        if status == 200:
            return Item(row, row["@odata.etag"], datetime.now(UTC))
        if status in {404, 412}:
            return None
        raise CrmUnavailable(f"queue item {item.id} could not be claimed: {status}")

    async def read(self, item_id: str) -> Item | None:
        """The item as it is now; None when it was deleted."""
        status, row = await self._ask("GET", f"{self._api}/{SET}({item_id})?$select={_SELECT}")
        return Item(row, row["@odata.etag"], datetime.now(UTC)) if status == 200 else None

    async def account_name(self, account: str) -> str:
        status, row = await self._ask("GET", f"{self._api}/accounts({account})?$select=name")
        return str(row["name"]) if status == 200 else account

    async def seed(self, prospects: list[Prospect], campaign: str) -> None:
        """Queue items for prospects, made by the system; those that are there already stay as they are."""
        rows = [_row(prospect, campaign) for prospect in prospects if await self.read(prospect.item_id) is None]
        if rows:
            await self._control_call("POST", f"seed/{SET}", rows)

    async def edit(self, item_id: str, values: dict[str, Any]) -> None:
        """A person edits a queue item."""
        await self._control_call("POST", "edit", {"set": SET, "id": item_id, "values": values})

    async def _control_call(self, method: str, name: str, body: Any) -> None:
        async with self._http.request(method, f"{self._control}/{name}", json=body) as answer:
            if answer.status != 200:
                raise CrmUnavailable(f"the control endpoint refused {name}: {(await answer.text())[:300]}")

    async def _ask(self, method: str, url: str, **more: Any) -> tuple[int, Any]:
        """Status and body. Waits as long as a 429 says, and tries again what never arrived."""
        for attempt in range(_TRIES):
            try:
                async with self._http.request(method, url, **more) as answer:
                    if answer.status == 429:
                        await asyncio.sleep(float(answer.headers.get("Retry-After", "1")))
                        continue
                    if answer.status < 500:
                        return answer.status, await answer.json(content_type=None)
            except (aiohttp.ClientConnectionError, TimeoutError):
                pass
            await asyncio.sleep(min(2.0, 0.1 * 2**attempt))
        raise CrmUnavailable(f"{method} {url.partition('?')[0]} failed {_TRIES} times")


def _row(prospect: Prospect, campaign: str) -> dict[str, Any]:
    account = tenant.ACCOUNTS[prospect.number % len(tenant.ACCOUNTS)]
    return {
        "medx_callqueueitemid": prospect.item_id,
        "medx_name": f"Prospect {prospect.number}",
        "medx_externalid": f"prospect-{prospect.item_id}",
        "medx_callstatus": 0,
        "medx_attemptcount": 0,
        "medx_maxattempts": prospect.times_called,
        "medx_phonenumber": phone_number(prospect.number),
        "medx_timezone": "America/Los_Angeles",
        "medx_priority": prospect.number % 10,
        "medx_AccountId@odata.bind": f"/accounts({account})",
        "medx_CampaignId@odata.bind": f"/campaigns({campaign})",
    }


def phone_number(number: int) -> str:
    """From the range that belongs to nobody."""
    return f"+1530555{100 + number % 100:04d}"
