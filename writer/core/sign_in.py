"""What is wrong with a sign-in, from the token service's own code or from how the question failed. No I/O.

Only a code of Entra's (`AADSTS…`) is the token service's word: a refusal without one came from something before it, and
says no more than that the service cannot be asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class SignInTrouble(StrEnum):
    SECRET_EXPIRED = "secret_expired"  # noqa: S105  a cause, no secret
    SECRET_WRONG = "secret_wrong"  # noqa: S105  a cause, no secret
    TENANT_UNKNOWN = "tenant_unknown"
    APPLICATION_UNKNOWN = "application_unknown"
    PROOF_REFUSED = "proof_refused"
    """A certificate, or a token of another issuer."""
    OTHER_REFUSAL = "refused"
    """With a code that is not in `BY_CODE`."""
    NO_IDENTITY = "no_identity"
    """The machine or pod has none."""
    PROOF_UNREADABLE = "proof_unreadable"
    """The file with the secret, the certificate or the projected token."""
    CERTIFICATE_UNTRUSTED = "certificate_untrusted"
    UNREACHABLE = "unreachable"
    NOT_ACCEPTED = "not_accepted"
    """The token was issued, and Dataverse does not take it."""


BY_CODE: Mapping[int, SignInTrouble] = {
    7000222: SignInTrouble.SECRET_EXPIRED,
    7000215: SignInTrouble.SECRET_WRONG,
    7000218: SignInTrouble.SECRET_WRONG,
    90002: SignInTrouble.TENANT_UNKNOWN,
    900021: SignInTrouble.TENANT_UNKNOWN,
    900023: SignInTrouble.TENANT_UNKNOWN,
    50059: SignInTrouble.TENANT_UNKNOWN,
    700016: SignInTrouble.APPLICATION_UNKNOWN,
    7000112: SignInTrouble.APPLICATION_UNKNOWN,
    700021: SignInTrouble.PROOF_REFUSED,
    700023: SignInTrouble.PROOF_REFUSED,
    700024: SignInTrouble.PROOF_REFUSED,
    700027: SignInTrouble.PROOF_REFUSED,
    700030: SignInTrouble.PROOF_REFUSED,
    70021: SignInTrouble.PROOF_REFUSED,
    700211: SignInTrouble.PROOF_REFUSED,
    700212: SignInTrouble.PROOF_REFUSED,
    700213: SignInTrouble.PROOF_REFUSED,
}
_COMES_BACK = {50196, 90033, 90036, 700005}
"""Entra's own trouble, or a limit of it: nothing is wrong with the identity."""

SENTENCES: Mapping[SignInTrouble, str] = {
    SignInTrouble.SECRET_EXPIRED: "The client secret has expired. Create a new one in Entra and put it where the "
    "writer reads it.",
    SignInTrouble.SECRET_WRONG: "The client secret is wrong. Enter its value, not its id, and check that it belongs "
    "to this client id.",
    SignInTrouble.TENANT_UNKNOWN: "Entra does not know the tenant. Correct tenant_id.",
    SignInTrouble.APPLICATION_UNKNOWN: "Entra does not know the application in this tenant, or it is disabled. Correct "
    "client_id, or check the app registration.",
    SignInTrouble.PROOF_REFUSED: "Entra does not accept the certificate or the federated token. Check that it is "
    "registered for this client id, that it has not expired, and that this machine's clock is right.",
    SignInTrouble.OTHER_REFUSAL: "Entra refuses the sign-in. Look the AADSTS code up.",
    SignInTrouble.NO_IDENTITY: "This machine or pod has no identity to sign in with. Assign a managed identity, or "
    "check the pod's service account and its label azure.workload.identity/use.",
    SignInTrouble.PROOF_UNREADABLE: "The file that this identity signs in with cannot be read. Check its path, its "
    "permissions and that it is mounted.",
    SignInTrouble.CERTIFICATE_UNTRUSTED: "The token service's certificate cannot be verified. Set "
    "WRITER_SIGN_IN__CA_FILE to a readable file with the authority that signed it.",
    SignInTrouble.UNREACHABLE: "The token service cannot be reached. Check the network, the proxy and "
    "WRITER_SIGN_IN__AUTHORITY.",
    SignInTrouble.NOT_ACCEPTED: "The token is valid, and Dataverse does not accept it. Add an application user with "
    "this client id to the environment, enable it, and give it a security role.",
}
"""The cause first, then what a person must do."""


@dataclass(frozen=True, slots=True)
class SignInFault:
    """`code` is the token service's own, such as AADSTS7000215, or ""."""

    trouble: SignInTrouble
    code: str = ""

    def __str__(self) -> str:
        sentence = SENTENCES[self.trouble]
        return f"{sentence} ({self.code})" if self.code else sentence

    @property
    def refused(self) -> bool:
        """Whether the token service itself text no."""
        return bool(self.code) and self.trouble is not SignInTrouble.UNREACHABLE


_AADSTS = re.compile(r"AADSTS([0-9]{4,9})")


def fault_of(words: str, *, otherwise: SignInTrouble = SignInTrouble.UNREACHABLE) -> SignInFault:
    """What an error's text says. Of the text only the code is kept: the rest may quote ids and secrets."""
    if found := _AADSTS.search(words):
        number = int(found[1])
        trouble = (
            SignInTrouble.UNREACHABLE if number in _COMES_BACK else BY_CODE.get(number, SignInTrouble.OTHER_REFUSAL)
        )
        return SignInFault(trouble, f"AADSTS{number}")
    text = words.lower()
    if any(sign in text for sign in _UNTRUSTED):
        return SignInFault(SignInTrouble.CERTIFICATE_UNTRUSTED)
    return SignInFault(otherwise)


_UNTRUSTED = ("certificate verify failed", "certificate_verify_failed", "ca certificate bundle", "[ssl]", "[x509")
"""How OpenSSL and requests say that a certificate, or the file of its authority, is at fault."""
