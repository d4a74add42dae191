"""Answers that are lines rather than rows: FetchXML, SQL and `$apply`."""

from typing import Any

from simulator import errors
from simulator.crm import Call, Organization
from simulator.crm.shape import ATTRIBUTE, FORMATTED, Shaper, annotate, formatted, wants
from simulator.query import apply, plan, sql
from simulator.query import options as query
from simulator.query.fetchxml import Fetch
from simulator.query.options import MAX_PAGE, Options
from simulator.query.plan import ROOT, Answer, Output, Plan
from simulator.schema import Table
from simulator.webapi import answers
from simulator.webapi.messages import Reply, Request, next_link, show

Json = dict[str, Any]
Target = tuple[Table, str, dict[str, str]]
_CRM = "Microsoft.Dynamics.CRM."


def answer(organization: Organization, call: Call, request: Request, target: Target) -> Reply:
    """`?fetchXml=` and `?sql=`. Raises a refusal for other options beside them."""
    table, language, given = target
    text = given.pop(language)
    if language == "fetchXml":
        return _fetch(organization, call, request, (table, text, given))
    return _sql(organization, call, request, (table, text, given))


def _fetch(organization: Organization, call: Call, request: Request, target: Target) -> Reply:
    """One page of a FetchXML query; the cookie leads to the next."""
    table, text, given = target
    # The documented requests carry $count beside FetchXML, where it asks for what returntotalrecordcount asks for.
    options = query.read(given, request.prefer, frozenset({"$count"}), "fetchXml")
    fetch = Fetch(organization, table, text)
    found = plan.run(organization, fetch.plan)
    counted = fetch.counted or options.count
    body: Json = {"@odata.context": f"{call.base}/$metadata#{table.entity_set}"}
    if options.count:
        body["@odata.count"] = min(len(found), MAX_PAGE)
    body |= answers.totals(organization, options, min(len(found), MAX_PAGE) if counted else -1)
    if fetch.top is not None:
        page = found[: fetch.top]
    else:
        start = (fetch.page - 1) * fetch.count
        page, more = found[start : start + fetch.count], len(found) > start + fetch.count
        if wants(options.annotations, f"{_CRM}morerecords"):
            body[f"@{_CRM}morerecords"] = more
        if more and wants(options.annotations, f"{_CRM}fetchxmlpagingcookie"):
            body[f"@{_CRM}fetchxmlpagingcookie"] = fetch.cookie()
    body["value"] = _Writer(organization, fetch.plan, options).write(page)
    return show(body, headers=answers.applied(request, "odata.include-annotations"))


def _sql(organization: Organization, call: Call, request: Request, target: Target) -> Reply:
    """One page of a SELECT, by `odata.maxpagesize` and next links."""
    table, text, given = target
    options = query.read(given, request.prefer, frozenset({"$skiptoken"}), "sql")
    statement = sql.read(organization, table, text)
    found = plan.run(organization, statement.plan)[statement.offset :]
    if statement.top is not None:
        found = found[: statement.top]
    start = query.whole("$skiptoken", options.skip_token) if options.skip_token else 0
    end = start + options.page_size
    body: Json = {"@odata.context": f"{call.base}/$metadata#{table.entity_set}"}
    body |= answers.totals(organization, options, -1)
    body["value"] = _Writer(organization, statement.plan, options).write(found[start:end])
    if end < len(found):
        body["@odata.nextLink"] = next_link(call, request, str(end))
    return show(body, headers=answers.applied(request, "odata.maxpagesize", "odata.include-annotations"))


class _Writer:
    """Lines of a plan as JSON: rows of the first table with what was joined to them, or groups."""

    def __init__(self, organization: Organization, held: Plan, options: Options) -> None:
        self.organization = organization
        self.plan = held
        self.annotations = options.annotations
        own = [output for output in held.outputs if output.alias == ROOT and not output.renamed]
        self.beside = [output for output in held.outputs if output not in own]
        self.shaper: Shaper | None = None
        if not (held.aggregate or held.distinct):
            select = () if held.everything else tuple(output.column.wire for output in own) or (held.table.primary_id,)
            self.shaper = Shaper(organization, held.table, Options(select=select, annotations=options.annotations))

    def write(self, answers: list[Answer]) -> list[Json]:
        return [self._line(line) for line in answers]

    def _line(self, line: Answer) -> Json:
        root = line.frame.get(ROOT)
        if self.shaper is None or root is None:
            shown: Json = {}
            outputs = list(self.plan.outputs)
        else:
            shown = self.shaper.show(root)
            outputs = self.beside
        for output in outputs:
            value = line.values.get(output.name)
            if value is None and not (self.plan.aggregate and output.function):
                continue  # what is null in a joined or grouped column is left out
            if self.annotations:
                self._annotate(shown, output, line)
            shown[output.name] = value
        return shown

    def _annotate(self, shown: Json, output: Output, line: Answer) -> None:
        row = line.frame.get(output.alias)
        if output.renamed and wants(self.annotations, ATTRIBUTE):
            shown[f"{output.name}@{ATTRIBUTE}"] = output.column.name
        if not output.function and not output.part and row is not None:
            annotate(shown, self.organization, self.annotations, (output.name, output.column, row))
        elif wants(self.annotations, FORMATTED):
            shown[f"{output.name}@{FORMATTED}"] = _text(self.organization, output, line.values[output.name])


def _text(organization: Organization, output: Output, value: Any) -> str:
    if value is None or output.part or output.function in {"count", "countcolumn"}:
        return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
    return formatted(organization, output.column, value) or str(value)


def applied_answer(organization: Organization, call: Call, request: Request, table: Table, options: Options) -> Reply:
    """`$apply`."""
    if options.page_size != MAX_PAGE:
        raise errors.not_built("pages of what $apply aggregates")
    lines = apply.run(organization, table, options)
    value = []
    for held, example in zip(lines.values, lines.examples, strict=True):
        shown: Json = {}
        for column, item in zip(lines.columns, held, strict=True):
            if item is None:
                continue  # the service leaves out what is null
            if wants(options.annotations, FORMATTED):
                target = example.targets.get(column.column.wire, "") if example and column.column else ""
                text = formatted(organization, column.column, item, target) if column.column else f"{item:,}"
                if text is not None:
                    shown[f"{column.name}@{FORMATTED}"] = text
            shown[column.name] = item
        value.append(shown)
    body = {"@odata.context": f"{call.base}/$metadata#{table.entity_set}", "value": value}
    return show(body, headers=answers.applied(request, "odata.include-annotations"))
