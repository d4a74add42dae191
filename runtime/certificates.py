"""Why a broker's certificate cannot be verified: librdkafka says the same of every cause."""

from __future__ import annotations

import socket
import ssl

_WITHIN_S = 3.0


def why_untrusted(bootstrap_servers: str, context: ssl.SSLContext | None) -> list[str]:
    """What the verification says of the first server that answers with a bad certificate; empty if none does."""
    for server in bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            _greet(host.strip("[]"), int(port), context or ssl.create_default_context())
        except ssl.SSLCertVerificationError as error:
            return [f"certificate verify failed: {error.verify_message}"]
        except (OSError, ValueError):
            continue
    return []


def _greet(host: str, port: int, context: ssl.SSLContext) -> None:
    with socket.create_connection((host, port), timeout=_WITHIN_S) as plain:
        context.wrap_socket(plain, server_hostname=host).close()
