"""The diagram of a plan's states in docs/architecture.md is drawn from the table.

python -m tests.unit.writer.core.test_state_diagram     draws it anew
"""

from __future__ import annotations

from pathlib import Path

from writer.core.attempt import TABLE, Event, State

PAGE = Path(__file__).parents[4] / "docs" / "architecture.md"
BEGIN, END = "<!-- states of a plan: drawn from writer/core/attempt.py -->", "<!-- end of the states of a plan -->"


def drawn() -> str:
    """As Mermaid. REVOKED, which leads from every state but the last to DROPPED, is said once."""
    arrows: dict[tuple[State, State], list[Event]] = {}
    for (before, event), after in TABLE.items():
        if event is not Event.REVOKED:
            arrows.setdefault((before, after), []).append(event)
    lines = [f'    state "{state}" as {state.name}' for state in State]
    lines.append(f"    [*] --> {State.WAITING.name}")
    lines += [f"    {one.name} --> {other.name}: {' / '.join(events)}" for (one, other), events in arrows.items()]
    lines += [f"    {state.name} --> [*]" for state in (State.SETTLED, State.DROPPED)]
    return "\n".join([BEGIN, "```mermaid", "stateDiagram-v2", *lines, "```", END])


def _parts() -> tuple[str, str, str]:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, BEGIN + inside + END, after


def test_the_diagram_in_the_docs_is_the_table() -> None:
    assert _parts()[1] == drawn(), "draw it anew: python -m tests.unit.writer.core.test_state_diagram"


def test_every_state_is_reached_and_every_state_but_the_last_two_is_left() -> None:
    left = {before for before, _ in TABLE}
    assert {State.WAITING, *TABLE.values()} == set(State)
    assert set(State) - left == {State.SETTLED, State.DROPPED}


def test_W2_every_state_but_the_last_two_is_dropped_when_its_partition_is_revoked() -> None:
    revoked = {before for before, event in TABLE if event is Event.REVOKED}
    assert revoked == set(State) - {State.SETTLED, State.DROPPED}


if __name__ == "__main__":
    before, _, after = _parts()
    PAGE.write_text(before + drawn() + after)
