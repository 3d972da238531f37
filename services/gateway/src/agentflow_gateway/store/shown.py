"""SQL of what an answer about a run says beside its log."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import asyncpg

from agentflow_gateway.store.base import Tables
from agentflow_gateway.store.batches import Batches
from agentflow_gateway.store.derived_memory import DerivedMemory

DERIVED_MAX: Final = 20  # runs that come from one run
# The conditions on the tags are those of the index `runs_derived`.
_DERIVED: Final = r"""
SELECT asked.org, asked.run, found.run AS derived
FROM unnest($1::text[], $2::text[]) AS asked (org, run)
CROSS JOIN LATERAL (
    SELECT run, submitted_at FROM runs
    WHERE org = asked.org AND tags LIKE '%"agentflow.origin"%'
      AND substring(tags FROM '"agentflow\.origin":"([^"]*)"') = asked.run
    ORDER BY submitted_at DESC, run DESC LIMIT $3
) AS found
ORDER BY found.submitted_at DESC, found.run DESC
"""


class ShownStore(Tables):
    def __init__(self, pool: asyncpg.Pool, memory: DerivedMemory) -> None:
        super().__init__(pool)
        self._memory = memory
        self._questions = Batches(self._find)

    async def derived(self, org: str, run: str, first_seq: int) -> tuple[str, ...]:
        """Returns the runs that come from a run, newest first. The questions of many calls are one query.

        first_seq: of the run's first event.
        """
        if self._memory.surely_none(org, run, first_seq, time.monotonic()):
            return ()
        return await self._questions.add((org, run))

    async def _find(self, asked: Sequence[tuple[str, str]]) -> Sequence[tuple[str, ...]]:
        wanted = list(dict.fromkeys(asked))
        rows = await self._pool.fetch(_DERIVED, [org for org, _ in wanted], [run for _, run in wanted], DERIVED_MAX)
        found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for row in rows:
            found[row["org"], row["run"]].append(row["derived"])
        return [tuple(found[one]) for one in asked]
