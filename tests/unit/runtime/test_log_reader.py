"""A partition counts as read at the end that its log had when it was asked, whatever the client says meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from runtime import log_reader


@dataclass(frozen=True)
class Said:
    """A message of confluent-kafka, or what it says in the place of one."""

    partition_: int | None
    offset_: int | None
    code: int | None = None

    def partition(self) -> int | None:
        return self.partition_

    def offset(self) -> int | None:
        return self.offset_

    def error(self) -> KafkaError | None:
        return None if self.code is None else KafkaError(self.code)


def split(*said: Any) -> tuple[list[Any], set[int]]:
    return log_reader._split(said, {0: 5, 1: 3})


EOF = KafkaError._PARTITION_EOF


def test_a_partition_is_read_when_the_reader_stands_at_or_behind_its_end() -> None:
    records = [Said(0, 3), Said(1, 0)]
    assert split(records[0], Said(0, 5, EOF), records[1], Said(1, 9, EOF)) == (records, {0, 1})


@pytest.mark.parametrize("early", [Said(0, 4, EOF), Said(0, None, EOF), Said(None, 5, EOF)])
def test_an_end_before_the_one_that_was_asked_for_ends_nothing(early: Said) -> None:
    assert split(early, Said(0, 3)) == ([Said(0, 3)], set())


@pytest.mark.parametrize("offset", [4, 5, 9])
def test_W5_a_log_that_others_append_to_all_the_time_is_read_with_the_last_record_before_its_end_or_the_first_behind(
    offset: int,
) -> None:
    """The client says that nothing comes only after half a second without a record."""
    assert split(Said(0, 3), Said(1, 1), Said(0, offset)) == ([Said(0, 3), Said(1, 1), Said(0, offset)], {0})


@pytest.mark.parametrize("code", sorted(log_reader._GOES_ON))
def test_what_passes_by_itself_is_waited_for(code: int) -> None:
    assert split(Said(0, 3), Said(None, None, code), Said(1, 3, EOF)) == ([Said(0, 3)], {1})


def test_what_the_broker_refuses_is_raised() -> None:
    with pytest.raises(KafkaException) as refused:
        split(Said(0, 4), Said(0, None, KafkaError.TOPIC_AUTHORIZATION_FAILED))
    assert refused.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


class Silent:
    """A broker that answers nothing `times` times."""

    def __init__(self, times: int, low: int = 0, high: int = 7) -> None:
        self.left, self.answer = times, (low, high)

    def get_watermark_offsets(self, of: TopicPartition, timeout: float) -> tuple[int, int]:
        self.left -= 1
        if self.left >= 0:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return self.answer


def end(silent: Silent, wanted: Callable[[int], bool]) -> int:
    return log_reader._end(silent, TopicPartition("t", 0), wanted)  # type: ignore[arg-type]


def test_an_end_is_asked_for_again_while_the_partition_is_wanted() -> None:
    assert end(Silent(2), lambda _: True) == 7
    assert end(Silent(0, low=7), lambda _: True) == 0, "nothing is left in that log"


def test_a_partition_that_is_not_wanted_any_more_is_not_asked_about_again() -> None:
    with pytest.raises(KafkaException):
        end(Silent(1), lambda _: False)
