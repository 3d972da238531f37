"""The spending of a step's report: a row of `costs`, and one of `llm_calls` for each call of a provider. Pure."""

from __future__ import annotations

from typing import Final

from agentflow_common.runs.state import node_of
from agentflow_trace import model_calls
from agentflow_trace.derive.run import RunFold
from agentflow_trace.derive.tables import CallRow, CostRow
from agentflow_trace.rows import Row

REPORTS: Final = model_calls.REPORTS


def cost(row: Row, part: int, run: RunFold) -> CostRow | None:
    """Returns what the report has spent, or None."""
    if row.type not in REPORTS or not (row.cost_nano or row.input_tokens or row.output_tokens):
        return None
    return CostRow(
        row.stream, row.stream_seq, part, row.ts, row.org, row.run, run.workflow, run.version,
        row.step, node_of(row.step), row.attempt, row.type, row.provider, row.model, row.prompt, row.cache_hit,
        row.input_tokens, row.output_tokens, row.cost_nano,
    )  # fmt: skip


def calls(row: Row, part: int, run: RunFold) -> list[CallRow]:
    """Returns the provider calls of a report. Their tokens and costs sum to those of the report."""
    return [
        CallRow(
            row.stream, row.stream_seq, part, call.number, row.ts, row.org, row.run, run.workflow, run.version,
            row.step, node_of(row.step), row.attempt, call.provider, call.model, row.prompt, call.ok, call.status,
            call.error, call.finish_reason, call.input_tokens, call.output_tokens, call.cost_nano, call.latency_ms,
        )
        for call in model_calls.calls_of(row)
    ]  # fmt: skip
