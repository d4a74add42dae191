"""Record ids as the service makes them: sequential, so its database can append. The same seed gives the same ids."""

import random


class SequentialIds:
    def __init__(self, seed: int | str = 0) -> None:
        dice = random.Random(seed)  # noqa: S311 - ids have to be reproducible, not secret
        self._tail = f"-ed11-8c0f-{dice.getrandbits(48):012x}"
        self._next = dice.getrandbits(28)

    def __call__(self) -> str:
        self._next = number = self._next + 1
        digits = f"{number:012x}"
        return f"{digits[-8:]}-{digits[-12:-8]}{self._tail}"
