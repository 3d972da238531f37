"""The table of runs that were found by their traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from agentctl.display.output import duration, money, status_text, table_of, when

if TYPE_CHECKING:
    from agentctl.display.output import Columns
    from agentflow_sdk import TraceSummary

_IF_ANY: Final = frozenset({"TOKENS", "MODELS", "ERROR"})  # columns that are left out if no run has them


def summaries(items: Sequence[TraceSummary], orgs: bool = False) -> Any:
    """Returns a table of runs. orgs: they belong to several orgs."""
    columns: Columns[TraceSummary] = {
        **({"ORG": lambda run: run.org_id} if orgs else {}),
        "RUN": lambda run: run.run_id,
        "WORKFLOW": lambda run: run.workflow,
        "STATUS": lambda run: status_text(run.status.value),
        "STARTED": lambda run: when(run.started_at),
        "TIME": lambda run: duration(run.duration_ms),
        "STEPS": lambda run: run.steps,
        "TOKENS": lambda run: f"{run.input_tokens + run.output_tokens:,}" if run.input_tokens else "",
        "COST": lambda run: money(run.cost_nano_usd),
        "MODELS": lambda run: ", ".join(run.models),
        "ERROR": lambda run: run.error,
    }
    shown = {name: cell for name, cell in columns.items() if name not in _IF_ANY or any(cell(run) for run in items)}
    numbers = ("TIME", "STEPS", "TOKENS", "COST")
    empty = "no runs in that time: look further back with --start 7d, or leave a filter out"
    less = ("ERROR", "MODELS", "TOKENS", "COST", "STEPS", "TIME")
    return table_of(items, shown, right=numbers, empty=empty, less=less)
