"""What a tenant's own logic is told of a write: on each write of a batch, and on nothing else."""

from __future__ import annotations

import pytest

from writer.core.batch import ChangeSet, Request
from writer.core.write_options import WriteOptions, write_options

READ = Request("GET", "phonecalls(1)?$select=subject", {"Accept": "application/json"})
CREATE = Request("PATCH", "phonecalls(1)", {"If-None-Match": "*"}, {"subject": "s"})
POST = Request("POST", "phonecalls", {}, {"activityid": "1"})
ALL = write_options(
    bypass_business_logic="CustomSync,CustomAsync", bypass_flows=True, detect_duplicates=True, tag="write-back & calls"
)


def test_every_write_of_a_batch_carries_the_options_and_no_read_does() -> None:
    headers = {
        "MSCRM.BypassBusinessLogicExecution": "CustomSync,CustomAsync",
        "MSCRM.SuppressCallbackRegistrationExpanderJob": "true",
        "MSCRM.SuppressDuplicateDetection": "false",
    }
    tag = "?tag=write-back%20%26%20calls"
    assert ALL.applied([READ, ChangeSet((CREATE, POST)), CREATE]) == [
        READ,
        ChangeSet(
            (
                Request("PATCH", f"phonecalls(1){tag}", {"If-None-Match": "*", **headers}, CREATE.body),
                Request("POST", f"phonecalls{tag}", headers, POST.body),
            )
        ),
        Request("PATCH", f"phonecalls(1){tag}", {"If-None-Match": "*", **headers}, CREATE.body),
    ]


def test_without_options_nothing_changes() -> None:
    assert WriteOptions().applied([READ, ChangeSet((CREATE,))]) == [READ, ChangeSet((CREATE,))]
    nothing = write_options(bypass_business_logic=None, bypass_flows=False, detect_duplicates=False, tag=None)
    assert nothing == WriteOptions()


@pytest.mark.parametrize(("path", "tagged"), [("tasks(1)", "tasks(1)?tag=t"), ("tasks?a=b", "tasks?a=b&tag=t")])
def test_a_tag_is_an_option_of_the_url(path: str, tagged: str) -> None:
    assert WriteOptions(tag="t").path(path) == tagged
