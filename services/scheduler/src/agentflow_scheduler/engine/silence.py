"""The silence of runs with steps under way: a run that is stuck has no new event. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from agentflow_common.subjects import EntityKey
from agentflow_scheduler.runs.run import Run


class Silence:
    """Compares the runs with those of the last look."""

    def __init__(self) -> None:
        self._since: dict[EntityKey, tuple[int, int, float]] = {}  # newest fact, newest decision, when first seen

    def longest(self, runs: Iterable[tuple[EntityKey, Run]], now_s: float) -> float:
        """Returns the longest silence in seconds. Runs that are paused or wait for the world are left out."""
        found: dict[EntityKey, tuple[int, int, float]] = {}
        for key, run in runs:
            state = run.state
            if not run.in_flight or run.external_waits or state.pause_requested:
                continue
            known = self._since.get(key)
            same = known is not None and known[:2] == (state.facts_seq, state.out_seq)
            found[key] = known if known is not None and same else (state.facts_seq, state.out_seq, now_s)
        self._since = found
        return max((now_s - since for _, _, since in found.values()), default=0.0)
