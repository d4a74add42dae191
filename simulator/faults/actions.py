"""What a fault does, as plain data that comes from the control endpoint or a script."""

import random
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

HeaderText = Annotated[str, Field(pattern=r"^[^\x00-\x1f]*$")]
Seconds = Annotated[float, Field(ge=0)]


class _Action(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Status(_Action):
    """Answer with a status. `applied`: the request is carried out all the same, only its answer is lost to this one."""

    kind: Literal["status"]
    status: int = Field(ge=200, le=599)
    code: str = "0x80040216"
    message: str = "An unexpected error occurred."
    body: str | None = Field(
        default=None, description="sent as it is instead of an error object, as HTML when it starts with <"
    )
    headers: dict[HeaderText, HeaderText] = Field(default_factory=dict)
    retry_after: int | None = Field(default=None, ge=0)
    applied: bool = False


class Known(_Action):
    """Answer with one of the service's own troubles, by name."""

    kind: Literal["error"]
    name: Literal[
        "sql_deadlock", "sql_timeout", "server_busy", "lock", "plugin", "unexpected", "bad_gateway", "unavailable",
        "gateway_timeout", "unauthorized", "forbidden", "throttled",
    ]  # fmt: skip
    applied: bool = False


class Latency(_Action):
    """Wait. Fixed seconds, or drawn: `uniform` (low, high), `exponential` (mean), `lognormal` (median, sigma)."""

    kind: Literal["latency"]
    seconds: Seconds | None = None
    distribution: Literal["uniform", "exponential", "lognormal"] | None = None
    low: Seconds = 0.0
    high: Seconds = 0.0
    mean: Seconds = 0.05
    median: Seconds = 0.05
    sigma: float = Field(default=0.5, ge=0)

    @model_validator(mode="after")
    def _says_how_long(self) -> Self:
        if self.seconds is None and self.distribution is None:
            raise ValueError("latency needs seconds or a distribution")
        return self

    def draw(self, dice: random.Random) -> float:
        """Seconds to wait this time."""
        match self.distribution:
            case "uniform":
                return dice.uniform(self.low, self.high)
            case "exponential":
                return dice.expovariate(1 / self.mean) if self.mean > 0 else 0.0
            case "lognormal":
                return self.median * dice.lognormvariate(0, self.sigma)
            case None:
                return self.seconds or 0.0


class Cut(_Action):
    """Cut the connection: `before` anything is done; `applied` = done, never answered; `during` the answer; `after` it.

    `hold_seconds` keeps the caller waiting before an unanswered cut.
    """

    kind: Literal["cut"]
    moment: Literal["before", "applied", "during", "after"]
    hold_seconds: Seconds = 0.0


class Edit(_Action):
    """A person edits a row, just before the request is carried out or just after it. `id` may name a
    group of the rule's regular expressions as `{id}`."""

    kind: Literal["edit"]
    set: str
    id: str
    values: dict[str, Any] | None = Field(..., description="columns to set; null deletes the row")
    moment: Literal["before", "after"] = "before"
    user: str | None = None


class Throttle(_Action):
    """From now on this user is throttled for so many seconds, on every server."""

    kind: Literal["throttle"]
    facet: Literal["requests", "time", "concurrency"] = "requests"
    seconds: Seconds = 5.0


class ExpireTokens(_Action):
    """Every token issued so far is worthless from now on."""

    kind: Literal["expire_tokens"]


Action = Annotated[Status | Known | Latency | Cut | Edit | Throttle | ExpireTokens, Field(discriminator="kind")]
