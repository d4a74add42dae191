"""Our services as real processes in tests: what the demo uses, and readiness by an address."""

from ops.demo.processes import Ready, Service, ServiceEndedError, module, when_written
from tests.support.ports import answers

__all__ = ["Ready", "Service", "ServiceEndedError", "module", "when_answers", "when_written"]


def when_answers(url: str) -> Ready:
    """Ready when `url` answers with a status below 400."""
    return lambda _service: answers(url)
