"""The usual case is read in a shorter way than the rest, and both ways say the same."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.crm import Call, Organization, keys
from simulator.crm import body as bodies
from simulator.crm.fields import Fields
from simulator.errors import Refusal
from simulator.ids import SequentialIds
from simulator.schema import Table
from simulator.tenant import APPLICATION_USER

_CALL = Call(APPLICATION_USER)
_TABLES = ("account", "contact", "phonecall", "task")


class _WithoutPlain(Organization):
    """Converts and checks every value."""

    def fields(self, table: Table, *, creating: bool) -> Fields:
        return {name: replace(item, plain=None) for name, item in super().fields(table, creating=creating).items()}


_SHORT, _LONG = Organization(), _WithoutPlain()
_COLUMNS = [(name, wire) for name in _TABLES for wire in _SHORT.fields(_SHORT.schema.by_name[name], creating=True)]
_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.just([]), st.just("\ud800")
)


def _read(organization: Organization, place: tuple[str, str], value: Any, *, creating: bool) -> object:
    table = organization.schema.by_name[place[0]]
    try:
        return bodies.read(organization, _CALL, table, {place[1]: value}, creating=creating).values
    except Refusal as refusal:
        return refusal.status, refusal.code, refusal.message


@given(st.sampled_from(_COLUMNS), _VALUES, st.booleans())
def test_a_plain_value_is_what_converting_and_checking_make_of_it(
    place: tuple[str, str], value: Any, creating: bool
) -> None:
    assert repr(_read(_SHORT, place, value, creating=creating)) == repr(_read(_LONG, place, value, creating=creating))


@pytest.mark.parametrize("letter", "aé😀")
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_text_around_its_limit_is_what_converting_and_checking_make_of_it(letter: str, more: int) -> None:
    for place in _COLUMNS:
        limit = _SHORT.schema.by_name[place[0]].by_wire[place[1]].max_length
        if limit:
            text = letter * (limit + more)
            assert _read(_SHORT, place, text, creating=True) == _read(_LONG, place, text, creating=True)


_LONGER = re.compile(r"^([A-Za-z_]\w*)\(((?:'(?:[^']|'')*'|[^')]++)*)\)(?:/(.+))?$", re.DOTALL)
_ID = "b169c626-85b5-4266-a69c-9b2cb007a012"


@given(
    st.sampled_from(["accounts", "phonecalls", "nothing", "", "accounts "]),
    st.sampled_from([_ID, _ID.upper(), _ID[:-1], f"{_ID}0", f"{{{_ID}}}", f"x='{_ID}'", ""]),
    st.sampled_from([")", "", "))", ")/x", ")\n", " )"]),
)
def test_what_is_found_by_its_id_the_longer_way_finds_too(name: str, record_id: str, end: str) -> None:
    path = f"{name}({record_id}{end}"
    found = keys.by_id(_SHORT.schema, path)
    longer = _LONGER.match(path)
    usual = name in _SHORT.schema.by_set and record_id.lower() == _ID and end == ")"
    assert (found is not None) == usual
    if found is not None and longer is not None:
        assert found == (_SHORT.schema.by_set[longer[1]], _SHORT.key(found[0], longer[2]).record_id)


@pytest.mark.parametrize(
    ("number", "start"), [(2**32 - 2, "ffffffff-0000-"), (2**32 - 1, "00000000-0001-"), (2**48 - 1, "00000000-0000-")]
)
def test_the_ids_go_on_beyond_four_billion(number: int, start: str) -> None:
    ids = SequentialIds(7)
    ids._number = number
    assert ids().startswith(start)
