"""A token service on this machine: what an OAuth provider, Azure's metadata service and their keys look like over HTTP.

It signs real JWTs, so that a real Kafka can validate them.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER, AUDIENCE = "https://tokens.example", "kafka"
TOKEN, METADATA = "/token", "/metadata/identity/oauth2/token"


@dataclass
class Asked:
    """One request, as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    parameters: Mapping[str, str]


@dataclass
class TokenService:
    """`secrets`: by client id; an assertion counts as a secret. `lifetime_s`, `audience`: of the next token.
    `clock_behind_s`: how far the clock is behind that its tokens are made by.
    `answer`: what is answered instead of a token, if anything.
    """

    secrets: dict[str, str] = field(default_factory=dict)
    lifetime_s: float = 3600.0
    audience: str = AUDIENCE
    clock_behind_s: float = 0.0
    answer: tuple[int, bytes] | None = None
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def jwks(self) -> str:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        return json.dumps({"keys": [{**public, "kid": "1", "use": "sig", "alg": "RS256"}]})

    def issue(self, subject: str) -> str:
        now = time.time() - self.clock_behind_s
        claims = {"sub": subject, "iss": ISSUER, "aud": self.audience, "iat": now, "exp": now + self.lifetime_s}
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "1"})

    def reply(self, asked: Asked) -> tuple[int, bytes]:
        self.asked.append(asked)
        if self.answer:
            return self.answer
        if asked.path == METADATA:
            return self._metadata(asked)
        client = asked.parameters.get("client_id", "")
        proof = asked.parameters.get("client_secret") or asked.parameters.get("client_assertion")
        if asked.path != TOKEN or asked.method != "POST":
            return 404, b"not found"
        if asked.parameters.get("grant_type") != "client_credentials" or not proof:
            return 400, b'{"error": "invalid_request"}'
        if self.secrets.get(client) != proof:
            return 401, json.dumps({"error": "invalid_client", "error_description": f"{proof} is wrong"}).encode()
        return self._token(client, self.lifetime_s)

    def _metadata(self, asked: Asked) -> tuple[int, bytes]:
        """As Azure's: numbers are texts there."""
        if asked.headers.get("metadata") != "true" or "resource" not in asked.parameters:
            return 400, b'{"error": "invalid_request"}'
        return self._token(asked.parameters.get("client_id", "system"), str(int(self.lifetime_s)))

    def _token(self, client: str, expires_in: Any) -> tuple[int, bytes]:
        granted = {"access_token": self.issue(client), "token_type": "Bearer", "expires_in": expires_in}
        return 200, json.dumps(granted).encode()


@contextmanager
def token_service(service: TokenService, context: ssl.SSLContext | None = None) -> Iterator[TokenService]:
    """Runs it; over TLS with a context."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._handle(urlsplit(self.path).query)

        def do_POST(self) -> None:
            self._handle(self.rfile.read(int(self.headers["content-length"])).decode())

        def _handle(self, parameters: str) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, urlsplit(self.path).path, headers, dict(parse_qsl(parameters)))
            status, body = service.reply(asked)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that does not trust us hangs up."""

    server = Server(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    service.url = f"{'https' if context else 'http'}://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
