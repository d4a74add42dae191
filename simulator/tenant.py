"""The example tenant's fixed ids and the rows it starts with. The one place where they are written down."""

from typing import Any, Final

TENANT_ID: Final = "11111111-aaaa-4bbb-8ccc-000000000001"
ORGANIZATION_ID: Final = "11111111-aaaa-4bbb-8ccc-000000000002"
BUSINESS_UNIT: Final = "11111111-aaaa-4bbb-8ccc-000000000003"

# Sign-in: the application user of the writer, a second one for a pool, and that of the mock call system.
CLIENT_ID: Final = "22222222-aaaa-4bbb-8ccc-000000000001"
CLIENT_SECRET: Final = "simulator-secret"  # noqa: S105 - the public secret of a tenant that exists on this machine only
SECOND_CLIENT_ID: Final = "22222222-aaaa-4bbb-8ccc-000000000002"
STATIC_TOKEN: Final = "simulator-token"  # noqa: S105 - as above

CALL_SYSTEM_TOKEN: Final = "simulator-calls-token"  # noqa: S105 - as above
CALL_SYSTEM_CLIENT_ID: Final = "22222222-aaaa-4bbb-8ccc-000000000003"

APPLICATION_USER: Final = "33333333-aaaa-4bbb-8ccc-000000000001"
SECOND_APPLICATION_USER: Final = "33333333-aaaa-4bbb-8ccc-000000000002"
CALL_SYSTEM_USER: Final = "33333333-aaaa-4bbb-8ccc-000000000004"
SYSTEM_USER: Final = "33333333-aaaa-4bbb-8ccc-000000000003"
CALLBACK_OWNER: Final = "33333333-aaaa-4bbb-8ccc-000000000011"
REVIEW_OWNER: Final = "33333333-aaaa-4bbb-8ccc-000000000012"
PERSON: Final = "33333333-aaaa-4bbb-8ccc-000000000013"
DISABLED_USER: Final = "33333333-aaaa-4bbb-8ccc-000000000014"

PERSON_OBJECT_ID: Final = "33333333-bbbb-4bbb-8ccc-000000000013"

QUEUE: Final = "99999999-aaaa-4bbb-8ccc-000000000001"
TEAM: Final = "44444444-aaaa-4bbb-8ccc-000000000001"
CAMPAIGN: Final = "55555555-aaaa-4bbb-8ccc-000000000001"
ACCOUNTS: Final = tuple(f"66666666-aaaa-4bbb-8ccc-{number:012d}" for number in range(1, 11))
CONTACT: Final = "77777777-aaaa-4bbb-8ccc-000000000001"


def _user(user_id: str, first: str, last: str, **more: Any) -> dict[str, Any]:
    return {
        "systemuserid": user_id,
        "firstname": first,
        "lastname": last,
        "businessunitid@odata.bind": f"/businessunits({BUSINESS_UNIT})",
        **more,
    }


def rows() -> list[tuple[str, list[dict[str, Any]]]]:
    """Bodies of creates by set name, in an order in which every lookup finds its target."""
    unit = {"businessunitid@odata.bind": f"/businessunits({BUSINESS_UNIT})"}
    return [
        ("businessunits", [{"businessunitid": BUSINESS_UNIT, "name": "Example"}]),
        (
            "systemusers",
            [
                _user(SYSTEM_USER, "SYSTEM", "", accessmode=3),
                _user(APPLICATION_USER, "Write-back", "Service", applicationid=CLIENT_ID, accessmode=4),
                _user(SECOND_APPLICATION_USER, "Write-back", "Service 2", applicationid=SECOND_CLIENT_ID, accessmode=4),
                _user(CALL_SYSTEM_USER, "Call", "System", applicationid=CALL_SYSTEM_CLIENT_ID, accessmode=4),
                _user(CALLBACK_OWNER, "Casey", "Callback"),
                _user(REVIEW_OWNER, "Robin", "Review"),
                _user(PERSON, "Pat", "Person", azureactivedirectoryobjectid=PERSON_OBJECT_ID),
                _user(DISABLED_USER, "Dana", "Disabled", isdisabled=True),
            ],
        ),
        ("teams", [{"teamid": TEAM, "name": "Callbacks", **unit}]),
        ("queues", [{"queueid": QUEUE, "name": "Outbound calls"}]),
        ("campaigns", [{"campaignid": CAMPAIGN, "name": "Example campaign", "codename": "EXAMPLE"}]),
        (
            "accounts",
            [
                {
                    "accountid": account,
                    "name": f"Account {number}",
                    "accountnumber": f"A{number:05d}",
                    "telephone1": f"+1530555{100 + number:04d}",
                }
                for number, account in enumerate(ACCOUNTS, 1)
            ],
        ),
        (
            "contacts",
            [
                {
                    "contactid": CONTACT,
                    "firstname": "Kim",
                    "lastname": "Contact",
                    "parentcustomerid_account@odata.bind": f"/accounts({ACCOUNTS[0]})",
                }
            ],
        ),
    ]
