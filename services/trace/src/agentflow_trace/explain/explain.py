"""Explains a run: reads its log, walks from the symptom to the causes, and ranks these. Pure.

`answer` may lack the logs of other runs: subworkflows, or the parent. `logs.missing` names them; the caller reads them
and asks again. It ends, because each run is read once and the number of runs is bounded.
"""

from __future__ import annotations

from typing import Final

from agentflow_common.rpc.traces.explain import ExplainReply
from agentflow_trace.explain import reasons, runs
from agentflow_trace.explain.open_runs import Around
from agentflow_trace.explain.run_log import Logs
from agentflow_trace.explain.wording import clip

RUNS_MAX: Final = 20  # of a tree that are read for one answer
ROUNDS_MAX: Final = 12  # of reading; a tree of subworkflows is not deeper


def answer(logs: Logs, run: str, around: Around) -> ExplainReply:
    """Returns the causes of a run's end, or of its not ending. The run's own log must be there."""
    log = logs.get(run)
    assert log is not None  # noqa: S101 - the caller has put it there
    assert log.state is not None  # noqa: S101 - `Logs.get` gives no log without a state
    symptom = runs.why_run(logs, log, around)
    causes = reasons.ranked(symptom)
    summary = symptom.link.text
    if causes and causes[0].chain[-1] is not symptom.link and log.state.status != "completed":
        summary = clip(f"{summary}; cause: {causes[0].text}")
    return ExplainReply(
        run=run,
        workflow=log.state.workflow,
        status=str(log.state.status),
        version=log.state.version,
        summary=summary,
        causes=causes,
    )
