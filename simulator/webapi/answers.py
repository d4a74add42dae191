"""What the answers about rows share: contexts, announcements, representations, pages."""

from typing import Any

from simulator.crm import Call, Organization, write
from simulator.crm.shape import Shaper, wants
from simulator.query import options as query
from simulator.query import select
from simulator.query.options import MAX_PAGE, Options
from simulator.schema import Table
from simulator.store import Row
from simulator.webapi.messages import Reply, Request, next_link, show

_NO_OPTIONS = Options()


def read_options(request: Request, where: str = "one record") -> Options:
    """What one record may be asked with."""
    if not request.query and not request.headers.prefer:
        return _NO_OPTIONS
    return query.read(query.parameters(request.query), request.prefer, query.ONE, where)


def applied(request: Request, *names: str) -> dict[str, str]:
    """`Preference-Applied` for those of these preferences that the request has."""
    if "prefer" not in request.headers:
        return {}
    given = request.prefer
    applied = [
        f'{name}="{given[name]}"' if name == "odata.include-annotations" else f"{name}={given[name]}"
        for name in names
        if name in given
    ]
    return {"Preference-Applied": ",".join(applied)} if applied else {}


def entity(organization: Organization, call: Call, table: Table, row: Row, options: Options) -> dict[str, Any]:
    """The JSON of one row, with its context."""
    shown = Shaper(organization, table, options).show(row)
    return {"@odata.context": f"{call.base}/$metadata#{table.entity_set}{selected(options)}/$entity", **shown}


def selected(options: Options) -> str:
    """What a context says of columns and expanded navigation properties."""
    expanded = [f"{item.navigation}/$ref()" if item.references else _nested(item) for item in options.expand]
    names = [*options.select, *expanded]
    return f"({','.join(names)})" if names else ""


def _nested(expand: query.Expand) -> str:
    return f"{expand.navigation}{selected(expand.options) or '()'}"


def entity_url(call: Call, table: Table, record_id: str) -> str:
    return f"{call.base}/{table.entity_set}({record_id})"


def representation(
    organization: Organization, call: Call, request: Request, record: tuple[Table, str, Options], *, created: bool
) -> Reply:
    table, record_id, options = record
    row = organization.store.get(table.logical_name, record_id)
    if row is None:
        raise organization.missing(table, record_id)
    body = entity(organization, call, table, row, options)
    headers = {"ETag": row.etag, **applied(request, "return", "odata.include-annotations")}
    reply = show(body, 201 if created else 200, headers)
    reply.entity = entity_url(call, table, record_id)
    return reply


def written(url: str) -> Reply:
    return Reply(204, {"OData-Version": "4.0", "Location": url, "OData-EntityId": url}, b"", url)


def create(
    organization: Organization, call: Call, request: Request, table: Table, more: dict[str, Any] | None = None
) -> Reply:
    """A new row from the body; `more` is what its place in the URL adds."""
    request.place = (table.logical_name, "", "")
    options = read_options(request, "POST")
    body = request.json(table.entity_set)
    request.place = (table.logical_name, str(body.get(table.primary_id, "")), "")
    record_id = write.create(organization, call, table, {**body, **(more or {})})
    if request.prefer.get("return") == "representation":
        return representation(organization, call, request, (table, record_id, options), created=True)
    return written(entity_url(call, table, record_id))


def listing(
    organization: Organization,
    call: Call,
    request: Request,
    table: Table,
    options: Options,
    within: list[Row] | None = None,
) -> Reply:
    """One page of rows: of a table, or of one record's collection (`within`)."""
    shaper = Shaper(organization, table, options, listed=True)
    rows, count, token = select.run(organization, table, options, within)
    body: dict[str, Any] = {"@odata.context": f"{call.base}/$metadata#{table.entity_set}{selected(options)}"}
    if options.count:
        body["@odata.count"] = count
    body |= totals(organization, options, count if options.count else -1)
    body["value"] = [shaper.show(row) for row in rows]
    if token:
        body["@odata.nextLink"] = next_link(call, request, token)
    headers = applied(request, "odata.maxpagesize", "odata.include-annotations")
    if "odata.maxpagesize" in request.prefer:
        headers["Preference-Applied"] = headers["Preference-Applied"].replace(
            f"odata.maxpagesize={request.prefer['odata.maxpagesize']}", f"odata.maxpagesize={options.page_size}"
        )
    return show(body, headers=headers)


def totals(organization: Organization, options: Options, count: int) -> dict[str, Any]:
    """The annotations of a whole answer, as far as they are asked for; -1 when nobody counted."""
    prefix = "Microsoft.Dynamics.CRM."
    held = {
        "totalrecordcount": count,
        "totalrecordcountlimitexceeded": count >= MAX_PAGE,
        "globalmetadataversion": str(1_000_000 + organization.schema.revision),
    }
    if not options.annotations:
        return {}
    return {f"@{prefix}{name}": value for name, value in held.items() if wants(options.annotations, prefix + name)}
