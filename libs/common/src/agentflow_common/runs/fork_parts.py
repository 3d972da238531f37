"""Steps that run in parts, in a fork or a retry: which parts are kept, and which begin again. Pure. See fork.py."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from agentflow_common.runs.state import DONE, RunState, StepState, StepStatus, node_of, parent_of


def partial(state: RunState, key: str, step: StepState, asks: Collection[str]) -> dict[str, StepState]:
    """Returns a step that had begun to run in parts, as it was then, and its parts that had begun, in all levels.

    It keeps the parts that succeeded or were skipped, and those that a person has to decide. The others begin again in
    their turn.
    """
    made = {key: _running(step)}
    for name, part in state.steps.items():  # a part stands behind the step that it is a part of
        parent = made.get(parent_of(name) or "")
        if parent is None:
            continue
        asked = part.status is StepStatus.OUTCOME_UNKNOWN and node_of(key) in asks
        if asked or part.status in DONE or parent.status is not StepStatus.RUNNING:
            made[name] = part
        else:
            made[name] = _running(part) if part.width >= 0 else _begun_again(part)
    return made


def _running(step: StepState) -> StepState:
    return msgspec.structs.replace(step, status=StepStatus.RUNNING, error=None, reason="", finished_at=0, due=False)


def _begun_again(part: StepState) -> StepState:
    return StepState(status=StepStatus.RETRYING, kind=part.kind, due=True)


def reopened(state: RunState, asks: Collection[str], whole: str, at: str) -> dict[str, StepState]:
    """Returns the step as it was while it ran, with `at` as a part that has to begin.

    asks: the nodes for which a person decides an unknown outcome.
    """
    step = state.steps[whole]
    made = partial(state, whole, step, asks)
    begun = made[whole]
    if step.iteration > 0:
        last = int(at[len(whole) + 1 :])
        made = {key: part for key, part in made.items() if key == whole or int(key[len(whole) + 1 :]) <= last}
        begun = msgspec.structs.replace(begun, iteration=last)
    elif step.status is StepStatus.COMPLETED:  # it went on without some
        made |= {key: state.steps[key] for key in made}
    made[whole] = begun
    inner = at if step.iteration > 0 else at[: at.index("]", len(whole)) + 1]
    made = {key: part for key, part in made.items() if not key.startswith(f"{inner}[")}
    return made | ({at: _begun_again(state.steps[at])} if inner == at else reopened(state, asks, inner, at))
