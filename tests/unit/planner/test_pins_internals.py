"""How much memory the pins take, by the block that holds them."""

from planner.pins.memory import MemoryPins
from tests.unit.planner.test_pins import a_pin


def test_B3_memory_of_forgotten_sessions_is_given_back():
    pins = MemoryPins()
    for start in range(0, 20_000, 1_000):
        names = [f"s{number}" for number in range(start, start + 1_000)]
        pins.pin(0, [a_pin(name, item=name) for name in names])
        pins.recover(0, [(name, None) for name in names], start)
    pins.pin(0, [a_pin("kept")])
    block = pins._of(0)._block
    assert len(block) < 400_000
    assert pins.digest(0, "kept") == a_pin("kept").digest
    assert len(pins) == 1
