"""The view's file: states follow the frontiers, whatever order news comes in, and a damaged file is noticed."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.core.remedies import is_open_opt_out
from ops.core.rows import Place, plan_row, rejected_row, result_row
from ops.core.selectors import Selectors, Sort
from ops.core.sessions import Frontier
from ops.errors import ViewNotKept
from ops.view.heads import PlanHeads
from ops.view.store import Store, Unusable, remove
from planner.core.retirement import mark_of
from schemas import headers
from schemas.codec import Undecodable, single_object
from schemas.records import BlockReason, MetadataGap, PlannedWriteback, PlanPosition, ResultStatus
from tests.support.factories import NOON, make_plan, make_result


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "view.sqlite") as opened:
        yield opened


def planned(store: Store, offset: int, session: str | None = None, **headers_: bytes) -> None:
    row = plan_row(make_plan(session_id=session or f"s{offset}"), Place(0, offset, 1_000 + offset), [*headers_.items()])
    store.keep_sessions([row])


def told(store: Store, session: str, about: int, **fields: object) -> None:
    result = make_result(session_id=session, plan=PlanPosition(partition=0, offset=about, digest="d"), **fields)
    store.keep_sessions([result_row(result, Place(0, 500 + about, 2_000), ())])


def unsettled(store: Store) -> list[str]:
    return [row["session"] for row in store.sessions(Selectors(unsettled=True), sort=Sort.SESSION)]


def test_only_its_owner_may_read_the_file(store: Store) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


@settings(deadline=None)
@given(
    offset=st.integers(0, 12),
    beyond=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), max_size=3),
    later=st.integers(0, 12),
)
def test_W1_unsettled_is_what_lies_behind_the_frontier_and_not_in_its_note(
    tmp_path_factory: pytest.TempPathFactory, offset: int, beyond: list[tuple[int, int]], later: int
) -> None:
    """Also after the group was set back or ahead, when only what may have changed is judged anew."""
    with Store(tmp_path_factory.mktemp("view") / "view.sqlite") as store:
        for each in range(12):
            planned(store, each)
        for at in (offset, later):
            ranges = sorted({at + gap: (at + gap, at + gap + length) for gap, length in beyond if gap}.values())
            store.keep_frontiers({0: Frontier(at, _apart(ranges))})
            store.judge()
            settled = {each for first, behind in _apart(ranges) for each in range(first, behind)} | set(range(at))
            assert set(unsettled(store)) == {f"s{each}" for each in range(12) if each not in settled}


def _apart(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for first, behind in ranges:
        if not kept or first > kept[-1][1]:
            kept.append((first, behind))
    return kept


def test_what_a_newer_record_replaces_is_the_sessions_story(store: Store) -> None:
    planned(store, 1, "one")
    told(store, "one", 1, status=ResultStatus.RESUME_NEEDED, message="The CRM could not be reached.")
    planned(store, 7, "one", **{headers.REQUEUE_COUNT: b"1"})
    told(store, "one", 7)
    planned(store, 9, "one", **{headers.REPLAY: b"kim"})
    story = store.earlier("one")
    assert [(each["kind"], each["offset"], each["what"]) for each in story if each["kind"] == "plan"] == [
        ("plan", 1, "planned"),
        ("plan", 7, "requeued 1×"),
    ]
    [before] = [each for each in story if each["kind"] == "result"]
    assert before["what"] == "resume_needed: The CRM could not be reached."
    store.keep_frontiers({0: Frontier(8)})
    store.judge()
    assert unsettled(store) == ["one"], "its replay is not settled yet"


def test_a_gap_is_selected_by_its_whole_name(store: Store) -> None:
    planned(store, 1, "one")
    gaps = (MetadataGap(entity="phonecalls", column="medx_idempotencykey", what="a column"),)
    told(store, "one", 1, status=ResultStatus.BLOCKED, block_reason=BlockReason.METADATA, gaps=gaps)
    store.keep_frontiers({0: Frontier(2)})
    store.judge()
    assert [store.count(Selectors(gap=[name])) for name in ("phonecalls", "medx_idempotencykey", "medx", "tasks")] == [
        1, 1, 0, 0,
    ]  # fmt: skip


def test_tombstones_take_plan_and_result_away_one_by_one(store: Store) -> None:
    planned(store, 1, "one")
    told(store, "one", 1)
    store.forget_plan("one")
    store.judge()
    assert [row["status"] for row in store.sessions(Selectors())] == ["completed"]
    store.forget_result("one")
    assert store.session("one") is None


def test_a_retired_session_is_counted_as_such(store: Store) -> None:
    mark = replace(make_plan(session_id="one"), steps=(), retired_at=NOON)
    store.keep_sessions([plan_row(mark, Place(0, 1, 1), ())])
    store.judge()
    assert [row["status"] for row in store.sessions(Selectors())] == ["retired"]


def test_B1_a_rejected_records_key_is_shown_only_if_it_is_a_queue_item_s_id(store: Store) -> None:
    for number, key in enumerate(
        (b"+15305550123", b"kim@example.com", b"Kim", None, make_plan().queue_item_id.encode())
    ):
        store.keep_rejected([rejected_row("t", Place(0, number, 1), key, b"x", ())])
    assert [row["key"] for row in store.rejected()] == [None, None, None, None, make_plan().queue_item_id]


def test_a_rejected_records_reasons_that_cannot_be_read_are_unknown() -> None:
    row = rejected_row("t", Place(0, 0, 1), None, None, [(headers.REJECTION_REASONS, b"{")])
    assert (row["codes"], row["reasons"]) == ("unknown", "[]")


def test_a_rejected_opt_out_counts_until_its_session_is_planned_or_it_was_rejected_again(store: Store) -> None:
    def rejected(offset: int, **more: object) -> None:
        row = rejected_row("t", Place(0, offset, 1), None, b"x", [(headers.OPT_OUT, b"true")])
        store.keep_rejected([row | {"session": f"s{offset}", "redriven_from": None, **more}])

    def open_ones() -> int:
        """As the counts and the rows say it: both go by one rule."""
        counted = int(store.rejected_counts()[0]["opt_outs"])
        assert counted == sum(map(is_open_opt_out, store.rejected()))
        return counted

    rejected(1)
    rejected(2)
    assert open_ones() == 2
    rejected(3, redriven_from="t/0/1")
    assert open_ones() == 2, "the first counts where it was rejected again"
    planned(store, 2)
    assert open_ones() == 2, "a plan of that session that does not opt out takes up nothing"
    store.keep_sessions([plan_row(make_plan(session_id="s2", opt_out=True), Place(0, 9, 2_000), [])])
    assert open_ones() == 1


def test_rejected_records_that_the_topic_dropped_are_dropped_here(store: Store) -> None:
    store.keep_rejected([rejected_row("t", Place(0, number, 1), None, b"x", ()) for number in range(4)])
    store.forget_rejected("t", {0: 3})
    assert [row["offset"] for row in store.rejected()] == [3]


def test_what_was_begun_and_not_ended_is_not_there(store: Store) -> None:
    with pytest.raises(KeyError), store.writing():
        _planned_and_cut_short(store)
    assert store.session("s1") is None


@pytest.mark.parametrize("content", [b"no database" * 500, b"SQLite format 3\x00" + b"\x00" * 4096])
def test_a_damaged_file_is_noticed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "view.sqlite"
    path.write_bytes(content)
    with pytest.raises(Unusable):
        Store(path)
    remove(path)
    Store(path).close()


def test_a_file_of_another_layout_is_not_used(store: Store) -> None:
    store.keep_facts({"layout": "0"})
    store.close()
    with pytest.raises(Unusable):
        Store(store.path)


def _planned_and_cut_short(store: Store) -> None:
    planned(store, 1)
    raise KeyError


@pytest.mark.parametrize("retired", [False, True], ids=["a plan", "a mark, which says so behind its steps"])
def test_a_plans_head_gives_the_row_that_the_whole_plan_gives(*, retired: bool) -> None:
    codec = single_object(PlannedWriteback)
    plan = make_plan(session_id="one", campaign_id="spring", opt_out=True)
    plan = mark_of(plan, NOON) if retired else plan
    place = Place(1, 2, 3)
    assert plan_row(PlanHeads(codec).decode(codec.encode(plan)), place, ()) == plan_row(plan, place, ())


CUT = single_object(PlannedWriteback).encode(make_plan())[:40]


@pytest.mark.parametrize("framed", [b"", b"\xc3\x01" + b"\x00" * 20, CUT])
def test_P6_hostile_bytes_are_no_plan_and_stop_nothing(framed: bytes) -> None:
    with pytest.raises(Undecodable):
        PlanHeads(single_object(PlannedWriteback)).decode(framed)


def test_a_view_that_sqlite_rolled_back_by_itself_says_that_its_disk_is_full(tmp_path: Path) -> None:
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorname = "SQLITE_FULL"

    def written(store: Store) -> None:
        with store.writing():
            store._db.execute("ROLLBACK")
            raise full

    with Store(tmp_path / "view.sqlite") as store, pytest.raises(ViewNotKept, match="free space there"):
        written(store)


ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from ops.errors import ViewNotKept
from ops.view.store import Store
with Store(Path(sys.argv[1])) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))
    try:
        with store.writing():
            store.keep_facts({f"fact {number}": "x" * 1000 for number in range(1000)})
    except ViewNotKept as error:
        print(error, len(store.facts()))
"""


MADE_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from ops.errors import ViewNotKept
from ops.view.store import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, 1 << 12))
try:
    Store(Path(sys.argv[1]))
except ViewNotKept as error:
    print(error)
"""


def test_a_view_that_cannot_even_be_made_says_where_to_free_space(tmp_path: Path) -> None:
    run = [sys.executable, "-c", MADE_ON_A_FULL_DISK, str(tmp_path / "view.sqlite")]
    ran = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "free space there" in ran.stdout


def test_a_full_disk_is_not_damage_and_the_view_says_where_to_free_space(tmp_path: Path) -> None:
    """The system call fails, as on a full disk, in a process of its own. What was in the view stays."""
    path = tmp_path / "view.sqlite"
    run = [sys.executable, "-c", ON_A_FULL_DISK, str(path)]
    ran = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"the local view {path} cannot be written: ")
    assert "free space there, or set WRITEBACK_VIEW_FOLDER to another folder" in ran.stdout
    assert ran.stdout.endswith(" 1\n"), "the layout is its one fact"
