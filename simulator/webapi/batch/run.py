"""Run a batch: items in order, a change set as one transaction."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from simulator import errors
from simulator.crm import Call, Organization
from simulator.switches import Switches
from simulator.webapi import admission
from simulator.webapi.batch import reader, writer
from simulator.webapi.batch.reader import ChangeSet, Part
from simulator.webapi.messages import FAILED, Reply, Request, refuse

MAX_OPERATIONS = 1000
MAX_URL = 65_536
_ROOT = re.compile(r"^/?api/data/v\d+\.\d+/")
_WHOLE_ROOT = re.compile(r"(?:https?://[\w.:-]+)?/?api/data/v\d+\.\d+", re.ASCII)
_REFERENCE = re.compile(r"^/?\$([\w.-]+)(/.*)?$")

Operation = Callable[[Organization, Call, Request], Reply]
Caller = Callable[[Mapping[str, str]], tuple[str, str | None]]


class _RolledBackError(Exception):
    """A change set's operation failed; carries the one answer for all of them."""

    def __init__(self, answer: writer.Answer) -> None:
        super().__init__(answer)
        self.answer = answer


class Batch:
    """One `$batch` request. `operation` answers the single operations; `count` says how many ran.

    `undone` is called after the rollback of a change set, with the position of its first operation; `caller` says who
    acts, and on behalf of whom, when an operation has headers of its own for it.
    """

    def __init__(
        self,
        organization: Organization,
        call: Call,
        operation: Operation,
        undone: Callable[[int], None] = lambda _: None,
        caller: Caller | None = None,
    ) -> None:
        self.organization = organization
        self.call = call
        self.operation = operation
        self.undone = undone
        self.caller = caller
        self.user = (call.user, call.on_behalf_of)
        self.count = 0

    def run(self, request: Request) -> Reply:
        """The whole reply. Nothing is done of a malformed batch; it is refused in plain JSON, or as its one part."""
        try:
            _check_request(request, self.organization.switches)
            lenient = self.organization.switches.batch_end == "lenient"
            items = reader.read(request.headers.get("content-type", ""), request.body, lenient=lenient)
            _check_size(items)
            self._check_ids(items)
        except errors.UnreadableBatch as refusal:
            return self._wrapped([writer.part((self._identified(refuse(refusal)), None))], refusal.status)
        except errors.Refusal as refusal:
            return refuse(refusal)
        go_on = request.prefer.get("odata.continue-on-error", "false").lower() != "false"
        parts: list[bytes] = []
        status = 200
        for item in items:
            content, failed = self._change_set(item) if isinstance(item, ChangeSet) else self._bare(item)
            parts.append(content)
            if failed and not go_on:
                status = failed
                break
        return self._wrapped(parts, status)

    def _wrapped(self, parts: list[bytes], status: int) -> Reply:
        boundary = f"batchresponse_{self.organization.ids()}"
        headers = {"Content-Type": f"multipart/mixed; boundary={boundary}", "OData-Version": "4.0"}
        return Reply(status, headers, writer.wrap(parts, boundary))

    def _check_ids(self, items: list[reader.Item]) -> None:
        """Raises 400 for a Content-ID that is given twice in a change set or, by switch, not at all."""
        for item in items:
            if not isinstance(item, ChangeSet):
                continue
            found = {part.content_id for part in item.parts}
            if len(found) == len(item.parts) and None not in found:
                continue
            ids = [part.content_id for part in item.parts if part.content_id is not None]
            if self.organization.switches.content_id == "required" and len(ids) < len(item.parts):
                raise errors.batch("The header with name 'Content-ID' was not present in an operation of a change set.")
            if len(set(ids)) < len(ids):
                twice = next(name for name in ids if ids.count(name) > 1)
                raise errors.batch(
                    f"The content ID '{twice}' was found more than once in the same change set or same batch request."
                    " Content IDs have to be unique across all operations of a change set for OData V4.0 and have to be"
                    " unique across all operations in the whole batch request for OData V4.01."
                )

    def _bare(self, item: Part) -> tuple[bytes, int]:
        self.call.change_set, self.call.references = None, {}
        reply = self._run_part(item)
        return writer.part((reply, item.content_id)), reply.status if reply.failed else 0

    def _change_set(self, item: ChangeSet) -> tuple[bytes, int]:
        """Its part of the response, and the failing status or 0. All of it lands, or nothing does."""
        boundary = f"changesetresponse_{self.organization.ids()}"
        self.call.change_set, self.call.references = item.boundary, {}
        first = self.count
        try:
            with self.organization.atomic:
                answers = [self._in_change_set(part) for part in item.parts]
        except _RolledBackError as failure:
            answer = failure.answer
        except errors.Refusal as refusal:  # of all of it: what was done could not be kept
            answer = self._identified(refuse(refusal)), None
        else:
            return writer.change_set(answers, boundary), 0
        finally:
            self.call.change_set = None
        self.undone(first)
        status = answer[0].status
        if self.organization.switches.failed_change_set == "bare":
            return writer.part(answer), status
        return writer.change_set([answer], boundary), status

    def _in_change_set(self, part: Part) -> writer.Answer:
        if part.method == "GET":
            reply = refuse(errors.batch("GET requests are not allowed inside a change set."))
        else:
            reply = self._run_part(part)
        named = part.content_id
        if reply.status >= FAILED:
            raise _RolledBackError((reply, named))
        if named and reply.entity:
            referable = reply.status == 204 or self.organization.switches.reference_after_representation == "take"
            if referable:
                self.call.references[named] = reply.entity
        return reply, named

    def _run_part(self, part: Part) -> Reply:
        call = self.call
        call.position = self.count
        self.count += 1
        call.user, call.on_behalf_of = self.user
        try:
            self._locate(part)
            if self.caller is not None and part.headers.impersonate:
                call.user, call.on_behalf_of = self.caller(part.headers)
        except errors.Refusal as refusal:
            return self._identified(refuse(refusal))
        reply = self.operation(self.organization, call, part)
        return self._identified(reply) if reply.status >= FAILED else reply

    def _identified(self, reply: Reply) -> Reply:
        reply.headers = {"REQ_ID": self.organization.ids(), **reply.headers}
        return reply

    def _locate(self, part: Part) -> None:
        """Find out path and query. Raises the refusal of a URL that leads nowhere."""
        url = part.url
        if len(url) > MAX_URL:
            raise errors.batch("The length of the URL exceeds the limit of 65536 characters.")
        root, _, record = url.rpartition("/")
        if _is_root(root) and record[:1].isalpha() and "?" not in record and "#" not in record:
            part.path = record  # nearly every operation that writes
            return
        reference = _REFERENCE.match(url) if "$" in url[:2] else None
        if reference is not None and reference[1] != "batch":
            entity = self.call.references.get(reference[1])
            if entity is None:
                raise errors.batch(f"Content-ID Reference: '${reference[1]}' does not exist in the batch context.")
            url = entity + (reference[2] or "")
        if "://" in url:
            try:
                split = urlsplit(url)
            except ValueError as error:
                raise errors.batch(f"Invalid URI: {error}.") from None
            url = f"{split.path}?{split.query}" if split.query else split.path
        path, _, query = url.partition("?")
        found = _ROOT.match(path)
        path = path[found.end() :] if found is not None else path
        path = path.lstrip("/") if path.startswith("/") else path
        if path == "$batch":
            raise errors.batch("A batch cannot hold another batch.")
        part.path, part.query = path, query


@lru_cache(maxsize=256)
def _is_root(url: str) -> bool:
    """Whether it is the service root, with the server's name or without. Operations have it in common."""
    return _WHOLE_ROOT.fullmatch(url) is not None


def _check_request(request: Request, switches: Switches) -> None:
    """The envelope's own headers: headers for operations belong to their parts, and have no effect here."""
    admission.without_conditions(request)
    admission.admit(request, body=False)
    if request.query:
        raise errors.batch("A batch takes no query options: put them into its parts.")
    wrong = next((name for name in request.prefer if name != "odata.continue-on-error"), None)
    if wrong and switches.batch_preferences == "refuse":
        raise errors.batch(f"The preference '{wrong}' of a batch has no effect: put it into the parts it is meant for.")


def _check_size(items: list[reader.Item]) -> None:
    total = sum([len(item.parts) if isinstance(item, ChangeSet) else 1 for item in items])
    if total > MAX_OPERATIONS:
        raise errors.batch(f"The batch request contains {total} operations; the maximum is {MAX_OPERATIONS}.")
    if total == 0:
        raise errors.batch("The batch request contains no operations.")
