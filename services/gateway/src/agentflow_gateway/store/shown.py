"""SQL of what an answer about a run says beside its log: one question."""

from __future__ import annotations

from typing import Final

import msgspec

from agentflow_gateway.store.base import Tables

# The conditions on the tags are those of the index `runs_derived`.
_ABOUT: Final = r"""
SELECT ARRAY(
    SELECT run FROM runs
    WHERE org = $1 AND tags LIKE '%"agentflow.origin"%'
      AND substring(tags FROM '"agentflow\.origin":"([^"]*)"') = $2
    ORDER BY submitted_at DESC, run DESC LIMIT $6
) AS derived, (
    SELECT canonical = $5 FROM definitions WHERE org = $1 AND name = $3 AND version = $4::int
) AS registered
"""


class AboutRun(msgspec.Struct, frozen=True):
    """The tables' part of an answer about a run."""

    derived: tuple[str, ...]  # forks and retries of it, newest first
    registered: bool | None  # whether this very text is registered under its name and version; None: nothing is


class ShownStore(Tables):
    async def about(self, org: str, run: str, name: str, version: int, canonical: str, derived_max: int) -> AboutRun:
        """Returns the runs that come from a run, and whether its definition is registered.

        canonical: the definition as registered texts are written.
        """
        row = await self._pool.fetchrow(_ABOUT, org, run, name, version, canonical, derived_max)
        return AboutRun(tuple(row["derived"]), row["registered"])
