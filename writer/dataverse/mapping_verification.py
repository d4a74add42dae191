"""Verifies a whole mapping in Dataverse: for `check`, and when the writer starts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from writer.core import results
from writer.core.mapping_check import MappingGap, MappingToCheck, gaps_of, is_of, notices_of
from writer.dataverse.metadata_cache import MetadataCache
from writer.errors import MetadataUnavailable
from writer.metrics import Metrics

_AGAIN_S = 30.0
OTHER_ENVIRONMENT = MappingGap(
    "_meta.environment",
    "the mapping was made for another environment; discover and review it again for this one, or correct "
    "WRITER_DATAVERSE__URL",
)


@dataclass(frozen=True, slots=True)
class Report:
    gaps: tuple[MappingGap, ...]
    notices: tuple[str, ...] = ()


async def verify(mapping: MappingToCheck, facts: MetadataCache, url: str) -> Report:
    """Every gap at once. Raises MetadataUnavailable."""
    snapshot, owners = await facts.survey(mapping.sets, tuple(mapping.people.values()))
    names = await facts.names_of([mapping.people[where] for where in mapping.names])
    gaps = gaps_of(mapping, snapshot, owners, names)
    other = () if is_of(mapping, url) else (OTHER_ENVIRONMENT,)
    return Report((*other, *gaps), notices_of(mapping, snapshot))


class MappingWatch:
    """The verification at start, repeated until Dataverse has everything that the mapping names. `gaps` is None until
    it is known. Plans go on meanwhile: each is verified by itself, and held or blocked for what it needs.
    """

    def __init__(self, mapping: MappingToCheck, facts: MetadataCache, metrics: Metrics, *, url: str) -> None:
        self._mapping = mapping
        self._facts = facts
        self._metrics = metrics
        self._url = url
        self.gaps: int | None = None

    async def run(self) -> None:
        log, logged = structlog.get_logger("writer"), ""
        while self.gaps != 0:
            try:
                report = await verify(self._mapping, self._facts, self._url)
            except MetadataUnavailable as failure:
                why = results.why_it_waits(failure.judgement)
                if logged != why:
                    log.warning("mapping.not_verified", why=why)
                logged = why
            else:
                self.gaps = len(report.gaps)
                self._metrics.mapping_gaps.set(self.gaps)
                if report.gaps and logged != (logged := "; ".join(map(str, report.gaps))):
                    log.error("mapping.does_not_fit", gaps=[str(gap) for gap in report.gaps])
            if self.gaps != 0:
                await asyncio.sleep(_AGAIN_S)
        log.info("mapping.verified", tables=len(self._mapping.tables), columns=len(self._mapping.columns))
