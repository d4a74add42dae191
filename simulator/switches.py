"""One switch for every fact about the service that is not confirmed, with the default that is likeliest.

A client that means to be safe passes its tests under every value.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints


@dataclass(frozen=True)
class Switches:
    """Each field is one unconfirmed fact; the comment above it says what the values mean."""

    # `statecode` in the body of a create of an activity: dropped (then the status must fit state 0), refused, or taken.
    statecode_on_create: Literal["ignore", "refuse", "accept"] = "ignore"
    # Editing columns of an activity that is completed or cancelled.
    edit_completed: Literal["allow", "refuse"] = "allow"
    # How a failed change set is reported: inside a change-set response (captured live) or as one bare part (OData).
    failed_change_set: Literal["nested", "bare"] = "nested"
    # Whether activity tables may carry alternate keys.
    activity_keys: Literal["no", "yes"] = "no"
    # Code on the 412 of a create-only PATCH: the code of the same message elsewhere, or none, as on old sample pages.
    exists_code: Literal["0x80040237", "none"] = "0x80040237"
    # Code on the 404 of an update of a missing row: the live code, or none, as on old sample pages.
    missing_code: Literal["0x80040217", "none"] = "0x80040217"
    # Columns the caller may not set (createdon and the like): silently dropped, or refused.
    read_only_columns: Literal["ignore", "refuse"] = "ignore"
    # Giving a row to a disabled user.
    disabled_owner: Literal["refuse", "accept"] = "refuse"
    # Null or absent value in a column marked ApplicationRequired: forms care, the Web API does not (or does).
    application_required: Literal["ignore", "refuse"] = "ignore"
    # Service protection may also strike single parts of a batch instead of the whole request.
    throttle_parts: Literal["no", "yes"] = "no"
    # `"nav@odata.bind": null` clears the lookup, or is refused (then only DELETE …/$ref clears it).
    bind_null: Literal["clear", "refuse"] = "clear"
    # Which tables have CreateMultiple, UpdateMultiple and UpsertMultiple. Documentation lists them for many standard
    # tables, and not for task and phonecall.
    bulk_messages: Literal["custom", "all_but_activities"] = "custom"
    # A time without an offset in a column of behavior UserLocal: the OData layer wants one, or takes it for UTC.
    time_without_zone: Literal["refuse", "utc"] = "refuse"
    # A time with an offset other than zero in a column that belongs to no time zone: refused, its clock kept, in UTC.
    time_zone_independent_offset: Literal["refuse", "keep", "convert"] = "refuse"
    # A condition or an order on a secured column that the caller may not read: refused, or the column is null.
    secured_condition: Literal["refuse", "null"] = "refuse"
    # Making an access team the owner of a row.
    access_team_owner: Literal["refuse", "accept"] = "refuse"
    # `$top` together with `Prefer: odata.maxpagesize`: documented to be ignored; or refused.
    top_with_page_size: Literal["ignore_top", "refuse"] = "ignore_top"
    # A lookup by its logical name (the name of its navigation property) in $select, $filter and $orderby: documented to
    # be no property (`_name_value` is), or taken for it.
    lookup_by_logical_name: Literal["refuse", "take"] = "refuse"
    # TOP and OFFSET … FETCH in SQL: documented by Microsoft's SDK, and documented not to be supported by the preview.
    sql_paging: Literal["take", "refuse"] = "take"
    # A batch whose last line has no end: documented to be unreadable; or forgiven, for clients that send it so.
    batch_end: Literal["strict", "lenient"] = "strict"
    # Preferences on a batch itself: documented to belong in its parts, so they have no effect (clients send them all
    # the same); or refused. `odata.continue-on-error` is the batch's own.
    batch_preferences: Literal["ignore", "refuse"] = "ignore"
    # A Content-ID on every operation of a change set: documented as a possibility, and needed by OData.
    content_id: Literal["optional", "required"] = "optional"
    # `$1` in a change set for an operation that was answered with return=representation, so without OData-EntityId.
    reference_after_representation: Literal["take", "refuse"] = "take"
    # Parties in the body of a PATCH that creates its activity. Rows that are made together with a record are documented
    # for a POST; of an upsert nothing is said, and one client reports that it is refused.
    parties_in_upsert: Literal["take", "refuse"] = "take"
    # Status of "the user is not a member of the organization".
    not_a_member_status: Literal["403", "401"] = "403"

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Switches":
        """Switches from names and values. Raises ValueError naming every unknown name and value at once."""
        hints = get_type_hints(cls)
        wrong = [
            f"{name}: unknown switch"
            if name not in hints
            else f"{name}={value}: one of {', '.join(get_args(hints[name]))}"
            for name, value in values.items()
            if name not in hints or value not in get_args(hints[name])
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return cls(**values)

    def to_dict(self) -> dict[str, str]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def choices(cls) -> dict[str, tuple[str, ...]]:
        """Every switch with the values it takes, the default among them."""
        hints = get_type_hints(cls)
        return {field.name: get_args(hints[field.name]) for field in fields(cls)}
