"""What goes wrong in the writer, named by what happens next, with the process's exit code.

    WriterError
    ├── MustRestart                  70: a new process goes on; nothing unsettled was committed
    │   └── RecordTooLarge           70
    ├── GivenUp                      the process stops, and nobody waits for this batch any more
    ├── NeverSent                    repeat it freely: the request did not reach Dataverse
    │   └── Untrusted
    ├── Unanswered                   read back: the request may have landed
    ├── MetadataUnavailable          wait, and verify again
    └── SignInFailed
        ├── SignInRefused            a person must act
        └── SignInUnavailable        wait, and sign in again

    Misconfigured                    78, with SchemaRefused, UnfitTopics and TracingNotInstalled (runtime)
    Unavailable                      69 at the start: BrokerUnavailable and RegistryUnavailable (runtime)

Anything else that ends the process: 70.
"""

from __future__ import annotations

from writer.core.replies import Judgement
from writer.core.sign_in import SignInFault


class WriterError(Exception):
    """Its text is ours: it names codes and places and quotes no record."""


class MustRestart(WriterError):
    """The process cannot go on, and nothing unsettled was committed: the supervisor starts it again."""


class RecordTooLarge(MustRestart):
    """The broker refuses a record for its size."""


class GivenUp(WriterError):
    """The process stops: whether the batch was published is not known, and nothing of it was settled."""


class NeverSent(WriterError):
    """The request did not reach the service: nothing can have happened. `advice`: what a person must do, if known."""

    advice = ""


class Untrusted(NeverSent):
    """The service's certificate cannot be verified."""

    advice = (
        "The certificate of Dataverse's address cannot be verified. Check WRITER_DATAVERSE__URL, and set "
        "WRITER_DATAVERSE__CA_FILE to the authority that signed the certificate."
    )


class Unanswered(WriterError):
    """The request was sent, wholly or in part, and no answer came: it may have landed."""


class MetadataUnavailable(WriterError):
    """Dataverse did not say; nothing can be verified now. Carries how the request went."""

    def __init__(self, judgement: Judgement) -> None:
        super().__init__(f"{judgement.kind} {judgement.meaning}")
        self.judgement = judgement


class SignInFailed(WriterError):
    """There is no token. `fault` says why, and who must do what."""

    def __init__(self, name: str, fault: SignInFault) -> None:
        super().__init__(f"{name}: {fault}")
        self.fault = fault


class SignInRefused(SignInFailed):
    """The token service itself says no: wrong secret, expired certificate, unknown application. A person must act."""


class SignInUnavailable(SignInFailed):
    """The token service could not be asked. Try again later."""
