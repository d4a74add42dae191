"""What every control handler gets: the simulator, its sign-in, and a reader of JSON bodies."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from simulator.service import Simulator
from simulator.signin.endpoint import SignIn


class ControlError(Exception):
    """The caller asked for something that cannot be; answered 400 (or `status`) with the reason."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Asked(BaseModel):
    """A body that is checked whole; a mistake is answered 400 with every reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass
class Desk:
    """`info` is what clients need to find their way: addresses and files."""

    simulator: Simulator
    signin: SignIn
    info: dict[str, Any] = field(default_factory=dict)

    async def body(self, http: web.BaseRequest) -> Any:
        """Raises ControlError for what is not JSON."""
        raw = await http.content.read()
        try:
            return json.loads(raw or b"{}")
        except (ValueError, RecursionError) as error:
            raise ControlError(f"not JSON: {error}") from None


Handler = Callable[[Desk, web.BaseRequest, str], Awaitable[Any]]
Routes = dict[tuple[str, str], Handler]
