"""What a user may do, as the service lists it for the whole of its roles."""

from typing import Any

from simulator import tenant
from simulator.crm import Organization
from simulator.metadata import definitions

BYPASSES = ("prvBypassCustomBusinessLogic", "prvBypassCustomPlugins")
"""Privileges of no table. Everybody has them here, unless they are taken away."""
ON_BEHALF = "prvActOnBehalfOfAnotherUser"


def held(organization: Organization, user: str) -> list[dict[str, Any]]:
    """Every privilege, for the whole organization, but those that were taken away; and to act on behalf of others, if
    that was given.
    """
    named = [each for each in BYPASSES if each not in organization.withheld.get(user, ())]
    named += [ON_BEHALF] if user in organization.delegates else []
    return [
        *(
            {
                "Depth": "Global",
                "PrivilegeId": definitions.metadata_id("organization", "privilege", each),
                "BusinessUnitId": tenant.BUSINESS_UNIT,
                "PrivilegeName": each,
            }
            for each in named
        ),
        *_of_tables(organization, user),
    ]


def _of_tables(organization: Organization, user: str) -> list[dict[str, Any]]:
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
