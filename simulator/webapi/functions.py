"""Unbound functions and the service document."""

from collections.abc import Callable

from simulator import errors
from simulator.crm import Call, Organization
from simulator.webapi.messages import Reply, Request, show

Handler = Callable[[Organization, Call, Request], Reply]
VERSION = "9.2.24084.00000"


def who_am_i(organization: Organization, call: Call, request: Request) -> Reply:
    _only_get(call, request)
    return show(organization.who_am_i(call))


def retrieve_version(organization: Organization, call: Call, request: Request) -> Reply:
    del organization
    _only_get(call, request)
    return show(
        {"@odata.context": f"{call.base}/$metadata#Microsoft.Dynamics.CRM.RetrieveVersionResponse", "Version": VERSION}
    )


def service_document(organization: Organization, call: Call, request: Request) -> Reply:
    _only_get(call, request)
    sets = [{"name": table.entity_set, "kind": "EntitySet", "url": table.entity_set} for table in organization.schema]
    return show({"@odata.context": f"{call.base}/$metadata", "value": sets})


def _only_get(call: Call, request: Request) -> None:
    if request.method != "GET":
        raise errors.no_such_resource(f"{call.base}/{request.path}")


_FUNCTIONS: dict[str, Handler] = {
    "": service_document,
    "WhoAmI": who_am_i,
    "WhoAmI()": who_am_i,
    "RetrieveVersion": retrieve_version,
    "RetrieveVersion()": retrieve_version,
}


def find(path: str) -> Handler | None:
    return _FUNCTIONS.get(path)
