"""Every refusal of the service: code, HTTP status and message, in the service's own words.

The statuses marked unconfirmed in the project's fact sheet are the likeliest; `switches.py` turns those that matter.
"""

HELP = "https://go.microsoft.com/fwlink/?linkid=2195293"


class Refusal(Exception):
    """The service says no. Caught at the edge of an operation and answered as `{"error": {code, message}}`."""

    def __init__(self, status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


def payload(entity_set: str, inner: str) -> Refusal:
    """What the OData layer says about a body it cannot take."""
    return Refusal(
        400,
        "0x80048d19",
        f"Error identified in Payload provided by the user for Entity :'{entity_set}', For more information on this"
        f" error please follow this help link {HELP}  ---->  InnerException : {inner}",
    )


def odata(entity_set: str, sentence: str) -> Refusal:
    return payload(entity_set, f"Microsoft.OData.ODataException: {sentence}")


def not_kept(file: str, problem: str) -> Refusal:
    """The simulator's own trouble: what it did cannot be kept, so it has not done it."""
    message = f"The simulator cannot write to {file}: {problem}. Nothing was changed; free space there, and try again."
    return Refusal(503, "0x8004a001", message)


def undeclared_property(entity_set: str, table: str, name: str) -> Refusal:
    return payload(
        entity_set,
        f"Microsoft.Crm.CrmException: Invalid property '{name}' was found in entity 'Microsoft.Dynamics.CRM.{table}'."
        f" ---> Microsoft.OData.ODataException: The property '{name}' does not exist on type"
        f" 'Microsoft.Dynamics.CRM.{table}'. Make sure to only use property names that are defined by the type.",
    )


def undeclared_bind(entity_set: str, name: str) -> Refusal:
    return odata(
        entity_set,
        f"An undeclared property '{name}' which only has property annotations in the payload but no property value was"
        " found in the payload. In OData, only declared navigation properties and declared named streams can be"
        " represented as properties without values.",
    )


def literal(entity_set: str, value: object, edm: str) -> Refusal:
    return odata(entity_set, f"Cannot convert the literal '{value}' to the expected type '{edm}'.")


class UnreadableBatch(Refusal):
    """The frame of a batch breaks off. Answered as a multipart reply that holds this refusal as its one part."""


def not_crlf(entity_set: str) -> Refusal:
    refusal = payload(entity_set, "System.ArgumentException: Stream was not readable.")
    return UnreadableBatch(refusal.status, refusal.code, refusal.message)


def batch(sentence: str) -> Refusal:
    return Refusal(400, "0x80048d19", sentence)


def not_built(what: str) -> Refusal:
    """What Dataverse does and the simulator does not. 501, so that it is never taken for an answer of the service."""
    return Refusal(501, "", f"The simulator has not built {what}. Dataverse has it.")


def no_message(what: str) -> Refusal:
    """A function or an action that nobody built; its answer can be given."""
    return Refusal(501, "", f"The simulator has not built {what}: PUT /_control/messages gives it an answer.")


def too_many_to_aggregate() -> Refusal:
    return Refusal(400, "0x8004e023", "The maximum record limit is exceeded. Reduce the number of records.")


def missing(table: str, record_id: str) -> Refusal:
    return Refusal(404, "0x80040217", f"Entity '{table}' With Id = {record_id} Does Not Exist")


def missing_by_key(table: str) -> Refusal:
    return Refusal(404, "0x80060891", f"A record with the specified key values does not exist in {table} entity")


def duplicate() -> Refusal:
    return Refusal(412, "0x80040237", "A record with matching key values already exists.")


def duplicate_detected() -> Refusal:
    return Refusal(
        412,
        "0x80040333",
        "A record was not created or updated because a duplicate of the current record already exists.",
    )


def duplicate_key(key: str, columns: str) -> Refusal:
    return Refusal(
        412,
        "0x80060892",
        f"Entity Key {key} violated. A record with the same value for {columns} already exists. A duplicate record"
        " cannot be created. Select one or more unique values and try again.",
    )


def version_mismatch() -> Refusal:
    return Refusal(
        412, "0x80060882", "The version of the existing record doesn't match the RowVersion property provided."
    )


def concurrency_not_enabled(table: str) -> Refusal:
    return Refusal(400, "0x8006088d", f"Optimistic concurrency isn't enabled for entity type {table}.")


def unknown_key(table: str) -> Refusal:
    return Refusal(
        400,
        "0x0",
        f"The key in the request URI is not valid for resource 'Microsoft.Dynamics.CRM.{table}'. Ensure that the names"
        " and number of key properties match the declared or alternate key properties for the resource"
        f" 'Microsoft.Dynamics.CRM.{table}'.",
    )


def too_long(table: str, column: str, limit: int) -> Refusal:
    return Refusal(
        400,
        "0x80044331",
        f"A validation error occurred.  The length of the '{column}' attribute of the '{table}' entity exceeded the"
        f" maximum allowed length of '{limit}'.",
    )


def not_an_option(table: str, column: str, value: object, accepted: str) -> Refusal:
    return Refusal(
        400,
        "0x8004431a",
        f"A validation error occurred. The value {value} of '{column}' on record of type '{table}' is outside the valid"
        f" range. Accepted Values: {accepted}",
    )


def integer_out_of_range(table: str, column: str, value: object) -> Refusal:
    return Refusal(
        400,
        "0x8004432f",
        f"A validation error occurred. The value {value} of '{column}' on record of type '{table}' is outside the valid"
        " range.",
    )


def decimal_out_of_range(table: str, column: str, value: object) -> Refusal:
    return Refusal(
        400,
        "0x80044330",
        f"A validation error occurred. The value {value} of '{column}' on record of type '{table}' is outside the valid"
        " range.",
    )


def invalid_status(status: object, table: str, state: str, record_id: str) -> Refusal:
    return Refusal(
        400,
        "0x80048408",
        f"{status} is not a valid status code for state code {table.capitalize()}State.{state} on {table} with Id"
        f" {record_id}.",
    )


def invalid_argument(sentence: str) -> Refusal:
    return Refusal(400, "0x80040203", sentence)


def required(table: str, column: str) -> Refusal:
    return Refusal(400, "0x80040203", f"The '{column}' column of the '{table}' table is required and cannot be null.")


def read_only_row(table: str) -> Refusal:
    return Refusal(400, "0x80040203", f"This {table} is completed or canceled and cannot be edited.")


def no_such_segment(segment: str) -> Refusal:
    return Refusal(404, "0x8006088a", f"Resource not found for the segment '{segment}'.")


def no_such_resource(uri: str) -> Refusal:
    return Refusal(404, "", f"No HTTP resource was found that matches the request URI '{uri}'.")


def no_such_property(table: str, name: str) -> Refusal:
    return Refusal(400, "0x0", f"Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.{table}'.")


def bad_query(sentence: str) -> Refusal:
    return Refusal(400, "0x80060888", sentence)


def verb_not_allowed(method: str) -> Refusal:
    return Refusal(405, "0x80060888", f"The requested resource does not support http method '{method}'.")


def message_not_supported(message: str, table: str) -> Refusal:
    return Refusal(400, "0x80040800", f"The '{message}' method does not support entities of type '{table}'.")


def unexpected() -> Refusal:
    return Refusal(400, "0x80040216", "An unexpected error occurred.")


def wrong_party() -> Refusal:
    return Refusal(400, "0x80043506", "Cannot create activity party of specified object type.")


def has_children() -> Refusal:
    return Refusal(
        405,
        "0x80040227",
        "The object you tried to delete is associated with another object and cannot be deleted.",
    )


def disabled_owner(user_id: str) -> Refusal:
    return Refusal(403, "0x80041d1f", f"The user with id {user_id} is disabled and cannot own records.")


def access_team_owner(team_id: str) -> Refusal:
    return invalid_argument(f"The team with id {team_id} is an access team and cannot own records.")


def secured(verb: str) -> Refusal:
    """The published texts; create, read and update have a code each."""
    if verb == "update":
        return Refusal(
            403,
            "0x8004f507",
            "The user doesn't have AttributePrivilegeUpdate and not granted shared access for a secured attribute"
            " during update operation",
        )
    code = {"create": "0x8004f502", "read": "0x8004f504"}[verb]
    return Refusal(
        403,
        code,
        f"The user does not have {verb} permissions to a secured field. The requested operation could not be"
        " completed.",
    )


def privilege(user_id: str, verb: str, table: str, type_code: int) -> Refusal:
    name = f"prv{verb.capitalize()}{table.capitalize()}"
    return Refusal(
        403,
        "0x80040220",
        f"Principal user (Id={user_id}, type=8, roleCount=1, privilegeCount=1, accessMode='4 Non-interactive'), is"
        f" missing {name} privilege (Id={user_id}) on OTC={type_code} for entity '{table}'. context.Caller={user_id}",
    )


def lacks(user_id: str, privilege: str) -> Refusal:
    """A privilege that belongs to no table."""
    return Refusal(403, "0x80040220", f"Principal user (Id={user_id}, type=8) is missing {privilege} privilege.")


def no_impersonation(user_id: str) -> Refusal:
    return lacks(user_id, "prvActOnBehalfOfAnotherUser")


def not_a_member() -> Refusal:
    return Refusal(403, "0x80072560", "The user is not a member of the organization.")


def disabled_caller(user_id: str) -> Refusal:
    return Refusal(403, "0x80040225", f"The specified user(Id = {user_id}) is disabled. Consider enabling this user.")


def too_large() -> Refusal:
    return Refusal(413, "0x8004418a", "Request message length is too large.")
