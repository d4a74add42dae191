"""`writeback next | claim | release`: the queue side, for call systems and for who looks after them."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka import Message
from rich.text import Text

from ops.actions import By, ForReal, Limit, Sender, Why, asked, confirmed, now
from ops.core.actions import CEILING, Asked, Preview
from ops.core.counting import number_of
from ops.core.eligibility import failing, letters
from ops.core.queue_item import (
    LONGEST_MARK,
    TOKEN,
    QueueColumns,
    QueueItem,
    blocked_outcome,
    iso_ms,
    says_so_already,
)
from ops.core.releasing import Claim, judged, what_is_released
from ops.core.selectors import Selectors
from ops.core.tables import table
from ops.core.times import NotATime, age, duration
from ops.crm import reach
from ops.options import MappingPath, id_option
from ops.output import Json, console, json_line
from ops.publishing import Publisher
from ops.queue_table import OtherEnvironment, QueueTable, queue_columns
from ops.settings import Settings, read_settings
from ops.taking import Found, Taking, UnknownCampaign, Wanted
from ops.view.view import View, opened
from planner.core.validation import reasons
from runtime.errors import Misconfigured
from runtime.exit_codes import Exit

Campaign = Annotated[
    str | None, typer.Option("--campaign", metavar="ID", help="The next items of this campaign, by its id in the CRM.")
]
Item = Annotated[str | None, typer.Option("--queue-item", metavar="ID", help="This very item.")]
Count = Annotated[int, typer.Option("--count", min=1, max=1000, help="At most so many items.")]
Blocked = Annotated[
    bool,
    typer.Option(
        "--publish-blocked", help="Publish a blocked outcome for each item that is looked at and not eligible."
    ),
]
Token = Annotated[
    str | None,
    typer.Option("--token", metavar="TOKEN", help="8 to 40 letters, digits and dashes that mark this one claim."),
]


def next_(
    campaign: Campaign = None,
    queue_item: Item = None,
    count: Count = 1,
    publish_blocked: Blocked = False,
    mapping_file: MappingPath = None,
    as_json: Json = False,
) -> None:
    """Show the next queue items that may be called, or judge one item by all six rules. Claims nothing.

    Of a campaign: status ready, next attempt empty or past, ordered by next attempt (empty first), creation, id; items
    that fail a rule are passed over and counted on stderr. --json has the phone number and the baseline; text has
    neither. Exit codes: 0 shown, or nothing is ready; 1 the item that was asked for is not eligible or not there.
    """
    request = _asked(campaign, queue_item, count, mapping_file, publish_blocked=publish_blocked)
    _take(request, lambda taking: taking.next(request.wanted), None, as_json=as_json)


def claim(
    campaign: Campaign = None,
    queue_item: Item = None,
    count: Count = 1,
    token: Token = None,
    publish_blocked: Blocked = False,
    mapping_file: MappingPath = None,
    as_json: Json = False,
) -> None:
    """Take the next queue items, or one item, so that no other caller gets them; the baseline comes with --json.

    Sets the status in_progress under the row's etag. Called again with the same --token, it first returns what an
    earlier call with it has claimed: use a new one for each claim, and repeat it if the call was interrupted. Exit
    codes: 0 claimed, or nothing is ready; 1 the item that was asked for is not eligible, not there, or taken.
    """
    request = _asked(campaign, queue_item, count, mapping_file, publish_blocked=publish_blocked)
    if request.columns.last_disposition_length < LONGEST_MARK:
        what = f"fields.queue.last_disposition.max_length: must be {LONGEST_MARK} or more, for the mark of a claim"
        raise Misconfigured([what])
    chosen = _token(token) or secrets.token_hex(8)
    _take(
        request, lambda taking: taking.claims(request.wanted, chosen, again=token is not None), chosen, as_json=as_json
    )


def release(
    token: Token = None,
    stale_after: Annotated[
        str | None,
        typer.Option("--stale-after", metavar="AGE", help="Items that were claimed longer ago: 90m, 4h, 2d."),
    ] = None,
    campaign: Annotated[
        str | None, typer.Option("--campaign", metavar="ID", help="Of --stale-after: items of this campaign alone.")
    ] = None,
    queue_item: Annotated[
        str | None, typer.Option("--queue-item", metavar="ID", help="This item alone, whatever its age.")
    ] = None,
    limit: Limit = CEILING,
    for_real: ForReal = False,
    why: Why = "",
    by: By = "",
    mapping_file: MappingPath = None,
    as_json: Json = False,
) -> None:
    """Give claimed queue items back: your own by their token, by age those whose claimer died, or one by its id.

    By token it acts at once. By age or id it is only shown, unless --for-real is given. An item stays claimed while its
    outcome is on the way or blocked: released, it would be called again, and its write-back would conflict. One whose
    session a person closed, or whose outcome was rejected, is given back only by its id, with what that means. Exit
    codes: 0 done or nothing to do; 1 some stay claimed, and a person must act first.
    """
    if (token is not None and stale_after is not None) or (token, stale_after, queue_item) == (None, None, None):
        raise typer.BadParameter("give --token, --stale-after or --queue-item")
    of_campaign, item = id_option("campaign", campaign), id_option("queue-item", queue_item)
    if token is not None:
        _token(token)
        settings = read_settings()
        _release_own(settings, _columns(mapping_file, settings), token, item, as_json=as_json)
    else:
        oldest = None if stale_after is None else _age(stale_after)
        settings = read_settings()
        person = asked(settings, for_real=for_real, why=why, by=by)
        stale = _Stale(settings, _columns(mapping_file, settings), oldest, of_campaign, item)
        _release_stale(stale, person, limit=limit, as_json=as_json)


@dataclass(frozen=True)
class _Request:
    settings: Settings
    columns: QueueColumns
    wanted: Wanted
    publish_blocked: bool


@dataclass
class _PassedOver:
    """What was looked at and may not be called; published if that was asked for."""

    publisher: Publisher | None
    rules: Counter[str] = field(default_factory=Counter)
    items: set[str] = field(default_factory=set)
    published: int = 0
    last: Found | None = None

    def __call__(self, found: Found) -> None:
        if found.item.id in self.items:
            return
        self.last = found
        self.items.add(found.item.id)
        self.rules.update(failing(found.findings))
        if self.publisher is None or says_so_already(found.item, found.findings):
            return
        outcome = blocked_outcome(found.item, found.findings, found.at)
        if wrong := reasons(outcome):
            listed = ", ".join(f"{each.field}: {each.code}" for each in wrong)
            typer.echo(f"queue item {found.item.id}: its blocked outcome would be rejected ({listed})", err=True)
            return
        self.publisher.publish(outcome)
        self.published += 1

    def sentence(self) -> str:
        counted = ", ".join(f"{rule} {self.rules[rule]:,}" for rule in sorted(self.rules))
        found = [f"{len(self.items):,} not eligible, by rule: {counted}"] if self.items else []
        if self.publisher is not None:
            found.append(f"{number_of(self.published, 'blocked outcome')} published")
        return "; ".join(found)


def _asked(
    campaign: str | None, queue_item: str | None, count: int, mapping_file: Path | None, *, publish_blocked: bool
) -> _Request:
    if (campaign is None) == (queue_item is None):
        raise typer.BadParameter("give either --campaign or --queue-item")
    if queue_item is not None and count != 1:
        raise typer.BadParameter("an item is one: leave it out with --queue-item", param_hint="--count")
    wanted = Wanted(id_option("campaign", campaign), id_option("queue-item", queue_item), count)
    settings = read_settings()
    columns = _columns(mapping_file, settings)
    if wanted.campaign is not None and columns.campaign is None:
        raise Misconfigured(["fields.queue.campaign: missing in the mapping; a campaign's items cannot be found"])
    return _Request(settings, columns, wanted, publish_blocked)


def _columns(given: Path | None, settings: Settings) -> QueueColumns:
    """Raises Misconfigured, CrmUnavailable."""
    if settings.dataverse is None or not settings.identities:
        raise Misconfigured(["set WRITEBACK_DATAVERSE__URL and WRITEBACK_IDENTITIES: the call queue is in Dataverse"])
    if (file := given or settings.mapping_file) is None:
        raise Misconfigured(["set WRITEBACK_MAPPING_FILE, or give --mapping: it names the columns of the call queue"])
    try:
        return queue_columns(file, settings.dataverse.url)
    except OtherEnvironment:
        with suppress(Misconfigured):
            asyncio.run(reach(settings))  # of an address where nothing answers, that is what to say
        raise


def _token(text: str | None) -> str | None:
    if text is not None and not TOKEN.fullmatch(text):
        raise typer.BadParameter("give 8 to 40 letters, digits and dashes", param_hint="--token")
    return text


def _age(text: str) -> timedelta:
    try:
        return duration(text)
    except NotATime:
        raise typer.BadParameter("give an age such as 90m, 4h or 2d", param_hint="--stale-after") from None


def _take(
    request: _Request, pick: Callable[[Taking], AsyncIterator[Found]], token: str | None, *, as_json: bool
) -> None:
    """Shows what is picked as it comes, and says on stderr what was passed over."""
    passed = _PassedOver(Publisher(request.settings) if request.publish_blocked else None)
    try:
        shown = asyncio.run(_shown(request, pick, passed, token, as_json=as_json))
    except UnknownCampaign:
        what = f"Dataverse has no campaign {request.wanted.campaign}"
        raise typer.BadParameter(what, param_hint="--campaign") from None
    if request.wanted.queue_item is None:
        if not shown:
            typer.echo(f"no item of campaign {request.wanted.campaign} is ready to be called", err=True)
        if said := passed.sentence():
            typer.echo(said, err=True)
        return
    if shown:
        return
    if passed.last is None:
        typer.echo(f"queue item {request.wanted.queue_item} is not there, or another caller was faster", err=True)
    else:
        _show(passed.last, None, as_json=as_json)
        if passed.publisher is not None:
            typer.echo(f"{number_of(passed.published, 'blocked outcome')} published", err=True)
    raise typer.Exit(Exit.ACT)


async def _shown(
    request: _Request,
    pick: Callable[[Taking], AsyncIterator[Found]],
    passed: _PassedOver,
    token: str | None,
    *,
    as_json: bool,
) -> int:
    shown = 0
    async with QueueTable.of(request.settings, request.columns) as queue:
        async for found in pick(Taking(queue, request.settings.calling.rules, passed)):
            _show(found, token, as_json=as_json)
            sys.stdout.flush()  # a claimed item is its caller's from here on
            shown += 1
    return shown


def _show(found: Found, token: str | None, *, as_json: bool) -> None:
    """Text names neither number nor account nor what the row holds: it ends up in logs. JSON has what a call needs."""
    item = found.item
    if as_json:
        claimed = {} if token is None else {"token": token}
        json_line({**item.as_json(found.at, found.findings), **claimed})
        return
    if token is not None:
        console().print(Text(f"claimed {item.id} with token {token}; --json has number and baseline", style="green"))
        return
    wrong = letters(failing(found.findings))
    verdict = f"not eligible: {wrong}" if wrong else "eligible"
    console().print(Text(f"queue item {item.id}: {verdict}", style="yellow" if wrong else "green"))
    rows = [
        (each.rule, Text("passed" if each.passed else "FAILED", style="" if each.passed else "yellow"), each.text)
        for each in found.findings
    ]
    console().print(table(("rule", "", "so"), rows))


def _release_own(
    settings: Settings, columns: QueueColumns, token: str, queue_item: str | None, *, as_json: bool
) -> None:
    async def run() -> tuple[list[QueueItem], list[QueueItem]]:
        async with QueueTable.of(settings, columns) as queue:
            taking = Taking(queue, settings.calling.rules, lambda _: None)
            claimed = [each for each in await taking.with_token(token) if queue_item in (None, each.id)]
            return claimed, [each for each in claimed if not await taking.released(each)]

    claimed, kept = asyncio.run(run())
    for item in claimed:
        _say_released(item, released=item not in kept, as_json=as_json)
    if not claimed:
        typer.echo(f"no item is claimed with token {token}: nothing to release", err=True)
    raise typer.Exit(Exit.ACT if kept else Exit.OK)


def _say_released(item: QueueItem, *, released: bool, as_json: bool) -> None:
    if as_json:
        json_line({"queue_item_id": item.id, "released": released})
    else:
        said = "released" if released else "not released: somebody changed it at this moment; call again"
        typer.echo(f"queue item {item.id} {said}")


@dataclass(frozen=True)
class _Stale:
    settings: Settings
    columns: QueueColumns
    oldest: timedelta | None
    """None: whatever its age."""
    campaign: str | None
    queue_item: str | None

    @property
    def after(self) -> str | None:
        return None if self.oldest is None else age(self.oldest.total_seconds())

    def described(self) -> str:
        parts = [] if self.after is None else [f"claimed more than {self.after} ago"]
        parts += [f"of campaign {self.campaign}"] if self.campaign else []
        return ", ".join([*parts, *([f"queue item {self.queue_item}"] if self.queue_item else [])])


def _release_stale(stale: _Stale, person: Asked, *, limit: int, as_json: bool) -> None:
    claims = _claims(stale)
    items = [each.item for each in claims if each.releasable]
    if stale.queue_item is not None and not claims:
        typer.echo(
            f"queue item {stale.queue_item} is not claimed, or was claimed later than that: nothing to release",
            err=True,
        )
    preview = Preview(
        what="release",
        selected=stale.described(),
        count=len(items),
        of="item",
        requests=len(items),
        notes=[number_of(stay, "stays claimed", "stay claimed")] if (stay := len(claims) - len(items)) else [],
        details={"claimed": len(claims)},
    )
    done: set[str] = set()
    if doing := confirmed(preview, person, limit=limit, as_json=as_json):
        details = what_is_released(items, stale.after)
        action = person.action("release", about="call queue", count=len(items), at=now(), details=details)
        with Sender(stale.settings) as sender:
            sender.record(action)
        done = asyncio.run(_released(stale, items))
    for each in claims:
        _show_claim(each, released=each.item.id in done, as_json=as_json)
    missed = doing and len(done) < len(items)
    raise typer.Exit(Exit.ACT if missed or any(each.for_a_person for each in claims) else Exit.OK)


def _claims(stale: _Stale) -> list[Claim]:
    """Old ones, each with whether it may be released. The rows are read first: what is on the topics after that can
    only be more."""
    items = asyncio.run(_in_progress(stale))
    if not items:
        return []
    with opened(stale.settings) as view:
        waiting = _waiting_for_the_planner(view, {each.id for each in items})
        return [
            judged(
                item, datetime.now(UTC), sessions=list(view.store.sessions(Selectors(queue_item=[item.id]))),
                rejected=view.store.rejected("key = ?", [item.id]), waits_for_the_planner=item.id in waiting,
                named=stale.queue_item is not None,
            )
            for item in items
        ]  # fmt: skip


async def _in_progress(stale: _Stale) -> list[QueueItem]:
    async with QueueTable.of(stale.settings, stale.columns) as queue:
        taking = Taking(queue, stale.settings.calling.rules, lambda _: None)
        before = datetime.now(UTC) - (stale.oldest or timedelta())
        found = taking.in_progress(stale.campaign, stale.queue_item)
        return [item async for item in found if item.claimed_at <= before]


async def _released(stale: _Stale, items: Sequence[QueueItem]) -> set[str]:
    async with QueueTable.of(stale.settings, stale.columns) as queue:
        taking = Taking(queue, stale.settings.calling.rules, lambda _: None)
        return {item.id for item in items if await taking.released(item)}


def _waiting_for_the_planner(view: View, items: set[str]) -> set[str]:
    """Those that have an outcome which the planner's group has not passed."""
    settings, partitions = view.settings, range(view.partitions)
    topic = settings.broker.topics.call_outcomes.name
    marks = view.logs.marks(topic, partitions)
    committed = view.logs.committed(settings.group_id(settings.planner_group), topic, partitions)
    starts = {each: max(low, committed[each].offset or 0) for each, (low, _) in marks.items()}
    found: set[str] = set()

    def heard(messages: Sequence[Message]) -> None:
        found.update(items.intersection((each.key() or b"").decode("ascii", "replace") for each in messages))

    view.logs.read(topic, starts, marks, heard, lambda _: None)
    return found


def _show_claim(claim: Claim, *, released: bool, as_json: bool) -> None:
    item, mark = claim.item, claim.item.mark
    if as_json:
        json_line(
            {
                "queue_item_id": item.id, "claimed_at": iso_ms(item.claimed_at), "token": mark and mark.token,
                "age_s": round(claim.age.total_seconds()), "held_back": claim.held_back, "means": claim.means,
                "released": released,
            }
        )  # fmt: skip
        return
    what = "released" if released else claim.held_back or claim.means or "nobody reported on it"
    console().print(Text(f"{item.id}  claimed {age(claim.age.total_seconds())} ago: {what}"))
