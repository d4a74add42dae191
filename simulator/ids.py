"""Record ids as the service makes them: sequential, so its database can append. The same seed gives the same ids."""

import random

_HALF = 2**32


class SequentialIds:
    def __init__(self, seed: int | str = 0) -> None:
        dice = random.Random(seed)  # noqa: S311 - ids have to be reproducible, not secret
        self._tail = f"-ed11-8c0f-{dice.getrandbits(48):012x}"
        self._number = dice.getrandbits(28)
        self._rest = f"-0000{self._tail}"

    def __call__(self) -> str:
        """The next id: the lower half of the number leads, and what follows is the same for four billion of them."""
        self._number = number = self._number + 1
        lower = number % _HALF
        if lower == 0:
            self._rest = f"-{number // _HALF % 2**16:04x}{self._tail}"
        return f"{lower:08x}{self._rest}"
