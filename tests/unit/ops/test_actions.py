"""What every changing command shows before, and what it leaves behind: who, why, how many; and no personal data."""

from __future__ import annotations

import json

import pytest
import typer

from ops.actions import asked, confirmed
from ops.core.actions import Asked, Preview, mark_of, planned_ms, sent_again
from ops.settings import Settings
from runtime.exit_codes import Exit
from schemas import headers

KIM = Asked(for_real=True, who="kim@host", why="the row was put right")
ONLY_SHOWN = Asked(for_real=False, who="kim@host", why="")
FIFTY = Preview(what="replay", selected="status blocked", count=50, requests=60)


def test_a_change_without_a_reason_is_wrong_usage_and_showing_it_needs_none() -> None:
    assert asked(Settings(), for_real=False, why="").for_real is False
    with pytest.raises(typer.BadParameter, match="say why"):
        asked(Settings(), for_real=True, why="  ")


def test_who_asks_is_named_by_the_option_then_by_the_setting_then_by_the_machine() -> None:
    assert asked(Settings(by="pod"), for_real=True, why="x", by="kim").who == "kim"
    assert asked(Settings(by="pod"), for_real=True, why="x").who == "pod"
    assert "@" in asked(Settings(), for_real=True, why="x").who


def test_B1_a_reason_is_kept_without_the_phone_number_and_address_that_are_in_it() -> None:
    why = asked(Settings(), for_real=True, why="kim@example.com on +1 530 555 0123 complained").why
    assert "complained" in why
    assert "example.com" not in why
    assert "0123" not in why


def test_a_change_is_made_only_for_real_and_only_if_it_is_about_something(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert confirmed(FIFTY, KIM, limit=100, as_json=False)
    assert not confirmed(FIFTY, ONLY_SHOWN, limit=100, as_json=False)
    shown = capsys.readouterr()
    assert "replay: 50 sessions, about 60 requests to the CRM; selected: status blocked" in shown.out
    assert "nothing was changed" in shown.err
    assert not confirmed(Preview(what="replay", selected="none", count=0), KIM, limit=100, as_json=True)
    assert json.loads(capsys.readouterr().out)["count"] == 0


def test_more_than_the_ceiling_is_refused_with_the_option_that_allows_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as refused:
        confirmed(FIFTY, KIM, limit=49, as_json=False)
    assert refused.value.exit_code == Exit.ACT
    assert "--limit 50" in capsys.readouterr().err
    assert confirmed(FIFTY, KIM, limit=0, as_json=False), "0 is no ceiling"


def test_a_plan_that_is_sent_again_keeps_what_is_known_of_it_and_loses_its_delay() -> None:
    kept = [(headers.TRACEPARENT, b"00-1"), (headers.CALL_MAY_EXIST, b"true")]
    delayed = [(headers.REQUEUE_COUNT, b"3"), (headers.NOT_BEFORE, b"9"), (headers.FIRST_APPENDED_AT, b"7")]
    mark = KIM.header(headers.REPLAY, planned_ms=str(planned_ms(delayed, 100)))
    once = sent_again([*kept, *delayed], mark)
    assert once == [*kept, mark]
    twice = sent_again(once, KIM.header(headers.REPLAN, planned_ms=str(planned_ms(once, 200))))
    assert [name for name, _ in twice] == [headers.TRACEPARENT, headers.CALL_MAY_EXIST, headers.REPLAN]
    assert planned_ms(twice, 300) == 7, "however often it is sent again"
    assert (mark_of(twice) or {})["by"] == "kim@host"


def test_a_decision_goes_along_until_the_writer_has_carried_it_out_and_not_a_second_time() -> None:
    decided = [KIM.header(headers.ACCEPTED_ETAG, etag='W/"7"')]
    mark = KIM.header(headers.REPLAY, job="job")
    assert sent_again(decided, mark, unsettled=True) == [*decided, mark]
    assert sent_again(decided, mark) == [mark]
    left = KIM.header(headers.LEAVE)
    assert sent_again([left], KIM.header(headers.LEAVE, at="now"), unsettled=True) != [left]
    assert len(sent_again([left], KIM.header(headers.LEAVE, at="now"), unsettled=True)) == 1, "the newer one alone"


def test_a_mark_that_is_none_of_ours_says_nothing() -> None:
    assert mark_of([(headers.REPLAY, b"\xff not ours")]) is None
    assert mark_of([(headers.REPLAY, b"3")]) is None
    assert planned_ms([(headers.REPLAY, b"3")], 100) == 100
