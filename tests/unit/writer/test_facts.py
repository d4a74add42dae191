"""Answers about metadata that are none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.writer.fake_dataverse import FakeDataverse
from tests.support.factories import make_plan
from tests.unit.writer.workbench import make_pool
from writer.core.emission import Read
from writer.dataverse.metadata_cache import MetadataCache
from writer.errors import MetadataUnavailable


@pytest.mark.parametrize(
    "catalogue", [{}, {"value": None}, {"value": ["no table"]}, {"value": [{"EntitySetName": "x"}]}]
)
def test_a_catalogue_that_is_none_is_asked_for_again_later(catalogue: dict[str, Any]) -> None:
    class Confused(MetadataCache):
        async def _ask(self, *_asked: object) -> list[dict[str, Any]]:
            return [catalogue]

    async def run() -> None:
        await Confused(make_pool(FakeDataverse()), metadata_ttl_s=60, owner_ttl_s=60).verdict(make_plan())

    with pytest.raises(MetadataUnavailable):
        asyncio.run(run())


def test_W9_a_link_without_known_targets_is_shown_as_a_link_to_nothing_known() -> None:
    facts = MetadataCache(make_pool(FakeDataverse()), metadata_ttl_s=60, owner_ttl_s=60)
    facts._links = lambda _set: {"ownerid": frozenset()}  # type: ignore[method-assign]
    read = Read(0, "tasks", "id", ("ownerid",))
    assert facts._link(read, "ownerid", {}, "some-id") == "/?(some-id)"
