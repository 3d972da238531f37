"""How a run completes: once nothing is left to do, or early, at an `end` node. Pure.

1. An `end` step is due like any other. With `status: failed` it is a step that fails, and the run fails by it.
2. Else it completes, with the run's output as its own. From then on nothing begins, whatever crashes: `ended_by` finds
   the step in the state.
3. `end_early` closes what is under way. The run then completes once its subworkflows have undone their steps, or it is
   cancelled and compensated.
4. Nodes with `finally: true` run before the last event (steps/finally_nodes.py).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agentflow_common.errors import InvalidError
from agentflow_common.events import Payload, StepError
from agentflow_common.runs.state import Finishing, RunStatus, by_reference
from agentflow_scheduler.runs import ending
from agentflow_scheduler.runs.decisions import RunDecisions, StepContext
from agentflow_scheduler.runs.run import Run
from agentflow_scheduler.runs.scope import at_field, fitting, gathered
from agentflow_scheduler.runs.steps import attempts
from agentflow_scheduler.runs.steps.verdict import UNDECIDABLE

MESSAGE_CHARS_MAX: Final = 4096


def begin_end(at: StepContext) -> None:
    """Decides an `end` step. Raises InvalidError, NeedBlob."""
    config = at.node.config
    if config.status == "failed":
        error = StepError(config.error.type, _message(at), retryable=False)
        attempts.fail(at, error, attempt=1)
        return
    values = gathered({name: value for name, value in at.node.values.items() if name == "output"}, at.scope, {})
    output = fitting(at.scope.inside(values.get("output")), "the run's output")
    attempts.complete(at, attempt=1, output=Payload(value=output))
    at.out.end = at.key


def _message(at: StepContext) -> str:
    field = "error.message"
    value = at.scope.inside(gathered({field: at.node.values[field]}, at.scope, {})[field])
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text[:MESSAGE_CHARS_MAX] or f"the run ended at {at.key}"


def end_early(run: Run, out: RunDecisions) -> None:
    """Ends the run at an `end` step that has completed. Raises NeedBlob."""
    at = StepContext.of(run, out, out.end)
    out.at = at.key
    if at.node.config.status == "cancelled":
        try:
            reason = _message(at)
        except InvalidError as error:
            reason = f"the run ended at {at.key}: {error.message}"
        ending.end_as_cancelled(run, out, reason)
        return
    ending.close_all(run, out, f"the run ended at {at.key}")
    if not ending.waits_for_children(run, out):
        complete(run, out, at if at.node.config.output is not None else None)


def complete(run: Run, out: RunDecisions, end: StepContext | None = None) -> None:
    """Completes the run. end: the step whose output is the run's. Raises NeedBlob."""
    try:
        output = Payload(value=_output(run, out) if end is None else by_reference(end.step.output or Payload()))
        for_parent = ending.output_for_parent(out, output)
    except InvalidError as error:
        error = at_field("outputs", error)
        ending.fail_run(run, out, StepError(UNDECIDABLE, error.message, retryable=False), "")
        return
    ending.finish(run, out, Finishing(str(RunStatus.COMPLETED), output), for_parent)


def _output(run: Run, out: RunDecisions) -> Any:
    """Returns the run's output. Raises InvalidError, NeedBlob."""
    plan = run.plan
    if plan.outputs:
        output: Any = gathered(plan.outputs, out.scope, {})
    elif plan.graph is not None:
        output = out.scope.shared_by_reference()
    else:
        output = {name: by_reference(out.scope.output(name)) for name in plan.sinks}
    return fitting(output, "the run's output")
