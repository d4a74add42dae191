"""The edge to the command that claims queue items, as a process: what a call system in any language would run.

It prints a JSON object for each item that it claimed: id, number, account, and the baseline to carry back.
"""

import asyncio
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from simulator.callsystem.queue import CrmUnavailable, Item

MOST_AT_ONCE = 100


@dataclass
class Claims:
    """`command` is what comes before `claim` and `release`. Every claim has a token of its own."""

    command: Sequence[str]
    campaign: str
    _tokens: dict[str, str] = field(default_factory=dict)

    async def take(self, count: int) -> list[Item]:
        """Items that are this call system's from here on. Raises CrmUnavailable with what the command said."""
        token = f"mock-{uuid.uuid4().hex}"
        wanted = ["--campaign", self.campaign, "--count", str(min(count, MOST_AT_ONCE)), "--token", token]
        items = [Item.of_claim(json.loads(line)) for line in await self._run("claim", *wanted, "--json")]
        self._tokens |= {item.id: token for item in items}
        return items

    async def give_back(self, item: Item) -> None:
        """The item is as it was before it was claimed."""
        await self._run("release", "--token", self._tokens.pop(item.id), "--queue-item", item.id)

    async def _run(self, *arguments: str) -> list[bytes]:
        process = await asyncio.create_subprocess_exec(
            *self.command, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            out, said = await process.communicate()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
        if process.returncode:
            raise CrmUnavailable(f"{arguments[0]} ended with {process.returncode}: {said.decode()[-300:].strip()}")
        return out.splitlines()
