"""Signed client assertions: by a certificate that the application registered, or by an issuer that it trusts."""

import base64
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FEDERATED_AUDIENCE = "api://AzureADTokenExchange"


class AssertionError_(Exception):  # noqa: N801 - AssertionError is taken
    """The assertion is not good; `number` is Entra's."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


@dataclass(frozen=True)
class Federation:
    """Tokens of `issuer` about `subject` (a Kubernetes service account, say) identify an application."""

    issuer: str
    subject: str
    public_key: str


@dataclass
class Assertions:
    """What each application may prove itself with."""

    certificates: dict[str, list[str]] = field(default_factory=dict)
    federations: dict[str, list[Federation]] = field(default_factory=dict)

    def knows(self, client_id: str) -> bool:
        return client_id in self.certificates or client_id in self.federations

    def register_certificate(self, client_id: str, pem: str) -> None:
        """Raises ValueError for a text without a certificate."""
        start = pem.find("-----BEGIN CERTIFICATE-----")
        if start < 0:
            raise ValueError("no certificate in the PEM text")
        x509.load_pem_x509_certificate(pem[start:].encode())
        self.certificates.setdefault(client_id.lower(), []).append(pem[start:])

    def register_federation(self, client_id: str, federation: Federation) -> None:
        """Replaces what was registered for the same issuer and subject: keys rotate."""
        others = [
            known
            for known in self.federations.get(client_id.lower(), [])
            if (known.issuer, known.subject) != (federation.issuer, federation.subject)
        ]
        self.federations[client_id.lower()] = [*others, federation]

    def check(self, client_id: str, assertion: str, realm: frozenset[str]) -> None:
        """Raises AssertionError_ for an assertion that does not prove this client.

        `realm` are the audiences that a certificate's assertion may be for: the names of the token endpoint.
        """
        try:
            header = jwt.get_unverified_header(assertion)
            claims = jwt.decode(assertion, options={"verify_signature": False})
        except jwt.PyJWTError:
            raise AssertionError_(50027, "JWT token is invalid or malformed.") from None
        if claims.get("iss") == client_id:
            self._check_certificate(client_id, assertion, header, realm)
        else:
            self._check_federation(client_id, assertion, claims)

    def _check_certificate(self, client_id: str, assertion: str, header: dict[str, Any], realm: frozenset[str]) -> None:
        thumbprint = str(header.get("x5t#S256") or header.get("x5t")).rstrip("=")
        for pem in self.certificates.get(client_id, []):
            certificate = x509.load_pem_x509_certificate(pem.encode())
            if thumbprint not in (_thumbprint(certificate, hashes.SHA256()), _thumbprint(certificate, hashes.SHA1())):  # noqa: S303 - x5t is SHA-1 by its definition
                continue
            key = certificate.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            try:
                _verify(assertion, key.decode(), realm)
            except jwt.InvalidAudienceError:
                text = "Client assertion audience claim does not match Realm issuer."
                raise AssertionError_(700023, text) from None
            return
        raise AssertionError_(700027, "The certificate with this thumbprint is not registered for the application.")

    def _check_federation(self, client_id: str, assertion: str, claims: dict[str, Any]) -> None:
        for federation in self.federations.get(client_id, []):
            if (claims.get("iss"), claims.get("sub")) == (federation.issuer, federation.subject):
                try:
                    _verify(assertion, federation.public_key, frozenset({FEDERATED_AUDIENCE}))
                except jwt.InvalidAudienceError:
                    raise AssertionError_(700027, "Client assertion is for another audience.") from None
                return
        raise AssertionError_(70021, "No matching federated identity record found for presented assertion.")


def _thumbprint(certificate: x509.Certificate, algorithm: hashes.HashAlgorithm) -> str:
    return base64.urlsafe_b64encode(certificate.fingerprint(algorithm)).decode().rstrip("=")


def _verify(assertion: str, key: str, audiences: frozenset[str]) -> None:
    """Raises AssertionError_, or jwt.InvalidAudienceError when signature and times are good."""
    try:
        claims = jwt.decode(
            assertion, key, algorithms=["RS256", "PS256"], options={"verify_aud": False, "require": ["exp"]}
        )
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError, jwt.MissingRequiredClaimError):
        raise AssertionError_(700024, "Client assertion is not within its valid time range.") from None
    except jwt.PyJWTError:
        raise AssertionError_(700027, "Client assertion failed signature validation.") from None
    given = claims.get("aud")
    if audiences.isdisjoint(given if isinstance(given, list) else [given]):
        raise jwt.InvalidAudienceError
