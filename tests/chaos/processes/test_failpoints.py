"""Every crash point has a seam in the product, and a seam that the product renames is named here."""

from __future__ import annotations

import pytest

from tests.proof.faults import CrashPoint
from tests.support import failpoints
from tests.support.failpoints import SEAMS, WITHOUT_TRANSACTIONS, Seam, arm, owner_of


def test_every_crash_point_has_a_seam() -> None:
    assert set(SEAMS) == set(CrashPoint)


@pytest.mark.parametrize("point", list(CrashPoint))
def test_the_seam_of_each_crash_point_is_in_the_product(point: CrashPoint) -> None:
    owner, name = owner_of(point)
    assert callable(getattr(owner, name))


@pytest.mark.parametrize("point", list(WITHOUT_TRANSACTIONS))
def test_the_seam_of_a_writer_without_transactions_is_in_the_product(
    point: CrashPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRITER_TRANSACTIONS", "false")
    owner, name = owner_of(point)
    assert owner.__name__ == "PlainProducer"
    assert callable(getattr(owner, name))


def test_a_seam_that_was_renamed_is_named_with_its_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEAMS, CrashPoint.POLLED, Seam("writer.kafka.consumer", "ConsumerThread._renamed"))
    with pytest.raises(LookupError, match=r"writer-polled: writer.kafka.consumer has no ConsumerThread._renamed"):
        owner_of(CrashPoint.POLLED)


async def test_a_point_acts_once_at_its_count_and_the_product_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Product:
        async def step(self, number: int) -> int:
            return number + 1

    acted: list[str] = []
    monkeypatch.setattr(failpoints, "owner_of", lambda _: (Product, "step"))
    monkeypatch.setitem(SEAMS, CrashPoint.DECIDED, Seam("", "", when=lambda arguments, _: arguments[1] > 0))
    arm(CrashPoint.DECIDED, 2, lambda: acted.append("killed"))
    assert [await Product().step(number) for number in (0, 1, 2, 3)] == [1, 2, 3, 4]
    assert acted == ["killed"]
