"""Decides about a run, and compares its bookkeeping with its state after every decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agentflow_scheduler.runs import machine
from agentflow_scheduler.runs.decisions import RunDecisions, unbounded
from agentflow_scheduler.runs.invariants import check_invariants
from agentflow_scheduler.runs.run import Run


def decide(run: Run, now_ms: int, blobs: Mapping[str, Any], take: Callable[[str], bool] = unbounded) -> RunDecisions:
    """Like `machine.decide`. Raises AssertionError if a field of the run is not what its state says."""
    out = machine.decide(run, now_ms, blobs, take)
    check_invariants(run)
    return out
