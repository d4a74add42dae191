"""State and status always fit each other."""

from typing import Any

from simulator import errors
from simulator.schema import Table
from simulator.store import Row
from simulator.switches import Switches


def on_create(table: Table, wanted: dict[str, Any], switches: Switches, record_id: str) -> None:
    """Settle statecode and statuscode of a new row, in place. Raises 0x80048408 for a status of another state."""
    if wanted.get("statecode") is None and wanted.get("statuscode") is None:
        wanted["statecode"], wanted["statuscode"] = table.opening
        return
    first = table.states[0].value
    state = wanted.get("statecode")
    if state is not None and table.activity and state != first:
        if switches.statecode_on_create == "refuse":
            raise errors.invalid_argument(
                f"The property 'statecode' of '{table.logical_name}' is not valid for create."
            )
        if switches.statecode_on_create == "ignore":
            state = first
    elif state is not None and not table.activity and state != first:
        state = first  # seen live on account: the platform sets 0 and then refuses a closed status
    state = first if state is None else state
    _settle(table, wanted, state, record_id)


def on_update(table: Table, wanted: dict[str, Any], row: Row, switches: Switches, record_id: str) -> None:
    """Settle the pair of an update, in place. A state alone brings its default status."""
    closed = row.values.get("statecode") != table.states[0].value
    if wanted.get("statecode") is None and wanted.get("statuscode") is None:
        if table.activity and closed and switches.edit_completed == "refuse":
            raise errors.read_only_row(table.logical_name)
        return
    state = wanted.get("statecode")
    _settle(table, wanted, row.values["statecode"] if state is None else state, record_id)


def _settle(table: Table, wanted: dict[str, Any], state: int, record_id: str) -> None:
    label = table.state_labels.get(state)
    if label is None:
        raise errors.not_an_option(
            table.logical_name, "statecode", state, ",".join(str(known.value) for known in table.states)
        )
    status = wanted.get("statuscode")
    if status is None:
        status = table.default_status[state]
    elif status not in table.status_of_state[state]:
        raise errors.invalid_status(status, table.logical_name, label, record_id)
    wanted["statecode"], wanted["statuscode"] = state, status
