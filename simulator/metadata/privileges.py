"""What a user may do, as the service lists it for the whole of its roles."""

from typing import Any

from simulator import tenant
from simulator.crm import Organization
from simulator.metadata import definitions


def held(organization: Organization, user: str) -> list[dict[str, Any]]:
    """Every privilege on every table, for the whole organization, but those that were taken away."""
    return [
        {
            "Depth": "Global",
            "PrivilegeId": each["PrivilegeId"],
            "BusinessUnitId": tenant.BUSINESS_UNIT,
            "PrivilegeName": each["Name"],
        }
        for table in organization.schema
        for each in definitions.privileges(table)
        if each["PrivilegeType"].lower() not in organization.denied.get((user, table.logical_name), ())
    ]
