"""`forget` on a broker that does not report the settings of its topics."""

from __future__ import annotations

from confluent_kafka import Producer

from schemas import headers
from schemas.codec import single_object
from schemas.records import CallOutcome
from tests.integration.ops.kit import writeback
from tests.integration.writer.kit import Topic
from tests.support.factories import an_id, make_outcome

REJECTED = "call-outcomes-rejected"


def test_where_topic_settings_are_not_reported_forget_changes_nothing_and_says_what_makes_them_known(
    topic: Topic,
) -> None:
    outcome = make_outcome()
    producer = Producer({"bootstrap.servers": topic.bootstrap})
    beside = [headers.reasons_header([headers.Reason("mismatch", "session_id", "another")])]
    value, key = single_object(CallOutcome).encode(outcome), outcome.queue_item_id.encode()
    producer.produce(REJECTED, value, key, 0, headers=beside)
    assert producer.flush(20) == 0
    whom = ("--queue-item", outcome.queue_item_id, "--no-crm")
    for more in ((), ("--for-real", "--reason", "request 17"), ("--check",)):
        ran = writeback("forget", *whom, *more)
        assert ran.code == 1
        assert f"the settings of {REJECTED} are not known: nothing was changed" in ran.err
        assert "not known: the broker does not report" in ran.out
        assert "goes by itself" not in ran.out
    assert writeback("forget", *whom, "--check", "--json").json[-1] == {"verdict": "not_known", "gone_by": None}
    assert topic.read("operator-actions") == []
    assert writeback("forget", "--queue-item", an_id("somebody else"), "--no-crm").code == 0, "nothing of them is there"
