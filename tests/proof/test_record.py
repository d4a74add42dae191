"""The record of the release counts: what the page says was run is what was run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.proof import record
from tests.proof.paths import PAGE, RECORD


def ended(runs: int, **more: object) -> dict[str, object]:
    return {"runs": runs, "hits": runs, "cpu_s": 60.0, "findings": [], "first": {}} | more


def test_the_page_shows_the_record_that_is_committed() -> None:
    assert record.table(record.read(RECORD)) in PAGE.read_text(), "make prove PROVE='--minutes 0' writes the table"


def test_the_page_gets_a_new_table_and_keeps_all_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- the record -->\n| old |\n<!-- the end of the record -->\nafter\n")
    part = record.fresh()
    record.add(part, ended(43, findings=[("kills 0", "I4")]), "abc1234")
    record.add(part, ended(43), "def5678+")
    record.show({"kills": part}, page)
    lines = page.read_text().splitlines()
    assert "| kills of real processes | 3,000 | 86 | 1 | 2 min | abc1234 (43), def5678+ (43) |" in lines
    assert [lines[0], lines[-1]] == ["before", "after"]
    assert "| old |" not in lines


def test_parts_that_run_side_by_side_keep_each_other_s_pieces(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    seeds, kills = record.fresh(), record.fresh()
    for part, name in ((seeds, "seeds"), (kills, "kills"), (seeds, "seeds")):
        record.add(part, ended(10), "abc1234")
        record.write(path, name, part)
    assert {name: part["runs"] for name, part in record.read(path).items()} == {"seeds": 20, "kills": 10}


def test_the_record_says_which_runs_were_compiled() -> None:
    part = record.fresh()
    for span in ([500, 750], [750, 1000], [2000, 2250]):
        record.add(part, ended(250, compiled=span), "abc1234")
    assert part["compiled"] == [[500, 1000], [2000, 2250]]


def test_the_code_that_ran_is_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    assert record.code(tmp_path) == "unknown"
    git("init")
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    commit = record.code(tmp_path)
    assert len(commit) == 7
    beside = tmp_path / RECORD.relative_to(RECORD.parents[2])
    beside.parent.mkdir(parents=True)
    beside.write_text("{}")
    git("add", ".")
    assert record.code(tmp_path) == commit
    (tmp_path / "code.py").write_text("2")
    assert record.code(tmp_path) == commit + "+"


def test_what_is_not_run_yet_is_in_the_table_as_well() -> None:
    rows = record.table({}).splitlines()[2:]
    assert "| pairs of faults, each 50 times | 76,650 | 0 | 0 | 0 min | – |" in rows
    assert "| schedules of 200 steps | 1,000,000 | 0 | 0 | 0 min | – |" in rows
    assert len(rows) == 6
