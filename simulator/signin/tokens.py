"""Access tokens: issued for an application, valid for a while, for one audience."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import jwt

ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. Times in seconds since 1970."""

    client_id: str
    audience: str
    expires_at: float
    issued_at: float


class TokenIssuer:
    """Issues tokens and reads them back. `expire_all` makes every token of before worthless."""

    def __init__(self, tenant_id: str, clock: Callable[[], float]) -> None:
        self.tenant_id = tenant_id
        self._clock = clock
        self._secret = secrets.token_hex(32)
        self._known: dict[str, Claims] = {}
        self._number = 0

    def issue(self, client_id: str, audience: str, lifetime: float) -> str:
        now = self._clock()
        self._number += 1
        payload = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{self.tenant_id}/",
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now + lifetime),
            "appid": client_id,
            "azp": client_id,
            "tid": self.tenant_id,
            "ver": "2.0",
            "uti": str(self._number),
        }
        token = jwt.encode(payload, self._secret, algorithm=ALGORITHM)
        self._known[token] = Claims(client_id, audience, now + lifetime, now)
        return token

    def read(self, token: str) -> Claims | None:
        """The claims of a token of ours that is still good, else None."""
        claims = self._known.get(token)
        if claims is None:
            return None
        if claims.expires_at <= self._clock():
            del self._known[token]
            return None
        return claims

    def expire_all(self) -> None:
        self._known.clear()
