"""Two faults at a time, by name: writer crash points × CRM, × membership, network × CRM, and inputs × crash points.

A pair's run is a calm schedule in which these two things happen again and again, and nothing else does. `hit` says
whether both did: a pair that never meets proves nothing, and the record says how many those are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from tests.proof.faults import CrashPoint, CrmFault, InputFault, Membership, NetworkFault
from tests.proof.world import Bias, Simulation, World

_WRITER = tuple(point for point in CrashPoint if point.of_writer)


@dataclass(frozen=True, slots=True)
class Pair:
    name: str
    bias: Bias


def pairs() -> Iterator[Pair]:
    for crash, fault in product(_WRITER, CrmFault):
        yield Pair(f"{crash}+{fault}", Bias(crash=crash, crm=fault))
    for crash, change in product(CrashPoint, Membership):
        yield Pair(f"{crash}+{change}", Bias(crash=crash, membership=change))
    for network, fault in product(NetworkFault, CrmFault):
        yield Pair(f"{network}+{fault}", Bias(network=network, crm=fault))
    for inputs, crash in product(InputFault, CrashPoint):
        yield Pair(f"{inputs}+{crash}", Bias(crash=crash, inputs=inputs))


def run(pair: Pair, seed: int, *, steps: int = 80) -> tuple[list[str], bool]:
    """What is wrong, and whether both faults happened."""
    one = simulation(pair, seed, steps=steps)
    return one.run(), _hit(one.world, pair.bias)


def simulation(pair: Pair, seed: int, *, story: Callable[[str], None] | None = None, steps: int = 80) -> Simulation:
    return Simulation(seed, steps=steps, story=story, prepare=lambda world: _prepare(world, pair.bias))


def _prepare(world: World, bias: Bias) -> None:
    world.setup = replace(world.setup, crm_trouble=0, trouble=25, people=2 if bias.crash is CrashPoint.IN_PIECES else 0)
    world.bias = bias


def _hit(world: World, bias: Bias) -> bool:
    happened = [
        bias.crash is None or world.crashed[bias.crash] > 0,
        bias.crm is None or world.faults[bias.crm] > 0,
        bias.network is None or world.happened[bias.network] > 0,
        bias.membership is None or world.happened[bias.membership] > 0,
        bias.inputs is None or world.happened[bias.inputs] > 0,
    ]
    return all(happened)
