"""A group is only ever set back, and undoing puts back exactly what was there, unless it has got further since."""

from __future__ import annotations

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from ops.core.actions import Action, Asked
from ops.core.rewinding import (
    Offset,
    back_to,
    last_rewind,
    last_undone,
    offsets_of,
    refused_action,
    rewind_action,
    undone,
)

OFFSETS = st.dictionaries(st.integers(0, 3), st.integers(0, 50))


@settings(deadline=None)
@given(committed=OFFSETS, wanted=OFFSETS, first=OFFSETS)
def test_W1_no_partition_is_set_ahead_nor_before_its_first_record(
    committed: dict[int, int], wanted: dict[int, int], first: dict[int, int]
) -> None:
    given_ = [Offset(partition, offset, "wb2:x") for partition, offset in committed.items()]
    found = back_to(given_, wanted, first)
    for old, new in zip(found.before, found.after, strict=True):
        assert first.get(new.partition, 0) <= new.offset < old.offset == committed[new.partition]
        assert new.metadata == "", "what was settled beyond is read again"
    moved = {each.partition for each in found.after}
    for partition in committed.keys() & wanted.keys() - moved:
        assert max(wanted[partition], first.get(partition, 0)) >= committed[partition]
    assert found.records >= len(found.after)


def test_undoing_puts_offsets_and_notes_back_but_for_partitions_that_got_further() -> None:
    before = [Offset(0, 10, "wb2:10:a"), Offset(1, 20, "wb2:20:b"), Offset(2, 5)]
    now = [Offset(0, 3), Offset(1, 25, "wb2:25:c")]
    assert undone(before, now).after == (before[0],)


def test_the_rewind_that_is_undone_is_the_last_one_that_was_not_undone_yet() -> None:
    move = back_to([Offset(0, 10, "note")], {0: 4}, {})
    asked = Asked(for_real=True, who="kim@host", why="x")
    made = partial(rewind_action, asked, group="g", topic="t", to="4", rewind=move)
    first, second = (
        {"action": each.action, "about": each.about, "details": each.details, "place": place, "at": each.at}
        for place, each in (("0/1", made(at="first")), ("0/2", made(at="second")))
    )
    back = made(at="later", undoes="0/2")
    undoing = {"action": back.action, "about": "g", "details": back.details, "place": "0/3", "at": "later"}
    assert last_rewind([first, second], "g") == second
    assert last_rewind([first, second, undoing], "g") == first
    assert last_rewind([first, second], "another") is None
    assert offsets_of(first, "before") == (Offset(0, 10, "note"),)
    assert offsets_of(first, "after") == (Offset(0, 4),)


def test_a_rewind_that_the_broker_refused_is_not_the_one_that_is_undone() -> None:
    asked = Asked(for_real=True, who="kim@host", why="x")
    move = back_to([Offset(0, 10)], {0: 4}, {})
    made = partial(rewind_action, asked, group="g", topic="t", to="4", rewind=move)

    def recorded(place: str, each: Action) -> dict[str, object]:
        return {"action": each.action, "about": each.about, "details": each.details, "place": place, "at": each.at}

    done, tried = recorded("0/1", made(at="1")), recorded("0/2", made(at="2"))
    refused = recorded("0/3", refused_action(asked, group="g", recorded_at="2", at="3"))
    assert last_rewind([done, tried, refused], "g") == done
    undoing = recorded("0/4", made(at="4", undoes="0/1"))
    refused_too = recorded("0/5", refused_action(asked, group="g", recorded_at="4", at="5"))
    assert last_rewind([done, tried, refused, undoing], "g") is None
    assert last_undone([done, tried, refused, undoing], "g") == undoing
    assert last_undone([done, tried, refused, undoing, refused_too], "g") is None
    later = recorded("0/6", made(at="6", undoes="0/1"))
    assert last_undone([done, undoing, later], "g") == later
    assert last_rewind([done, tried, refused, undoing, refused_too], "g") == done
