"""The diagrams of the statuses of a step and of a run, and the table of what each event does to a step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from agentflow_common import events as ev
from agentflow_common.runs.state import RunStatus, StepStatus
from agentflow_common.runs.transitions import BEGUN, RUN, STEP, Transition
from tests.docs.markdown import code, table

# These would lead to one status from nearly everywhere, so the diagrams leave them out. The table has them.
_FROM_ANYWHERE = (ev.StepCancelled, ev.StepTimedOut, ev.StepUndecidable)
_BEGUN = (ev.StepCompleted, BEGUN)
_AGAIN = frozenset({StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN, StepStatus.RETRYING})


def _diagram(arrows: Iterable[tuple[str, str, str]], first: str = "", last: Iterable[str] = ()) -> str:
    """Returns a diagram with one arrow for each pair of statuses, however many events make it."""
    labels: dict[tuple[str, str], list[str]] = {}
    for source, target, label in arrows:
        if source != target:
            labels.setdefault((source, target), []).append(label)
    lines = [f"{source} --> {target}: {', '.join(dict.fromkeys(names))}" for (source, target), names in labels.items()]
    lines = [*([f"[*] --> {first}"] if first else []), *lines, *(f"{status} --> [*]" for status in last)]
    return "\n".join(("```mermaid", "stateDiagram-v2", *(f"    {line}" for line in lines), "```"))


def _arrows(transitions: Iterable[tuple[type[ev.Event], Transition[Any]]]) -> Iterator[tuple[str, str, str]]:
    """Yields (source, target, event), in the order of the statuses."""
    found = [
        (source, target, ev.event_type(kind))
        for kind, transition in transitions
        for source in transition.before
        for target in transition.after
    ]
    order = [*StepStatus, *RunStatus]
    yield from sorted(found, key=lambda arrow: (order.index(arrow[0]), order.index(arrow[1])))


def _step_arrows() -> list[tuple[str, str, str]]:
    shown = [(kind, transition) for kind, transition in STEP.items() if kind not in _FROM_ANYWHERE]
    begun = [(source, target, f"{label} of the step before it") for source, target, label in _arrows([_BEGUN])]
    return [*_arrows(shown), *begun]


def step_diagram() -> str:
    """Returns how a step begins and how its first attempt ends."""
    arrows = [arrow for arrow in _step_arrows() if arrow[0] not in _AGAIN]
    return _diagram(arrows, "pending", ("completed", "skipped"))


def again_diagram() -> str:
    """Returns how a step goes on after an attempt that did not succeed."""
    return _diagram([arrow for arrow in _step_arrows() if arrow[0] in _AGAIN])


def run_diagram() -> str:
    return _diagram(_arrows(RUN.items()), "pending", ("completed", "failed", "cancelled"))


def step_table() -> str:
    rows = []
    for kind, transition in STEP.items():
        decided = issubclass(kind, ev.Decision)
        rows.append(
            (
                code(ev.event_type(kind)),
                "decision" if decided else "fact",
                _listed(transition.before),
                ", ".join(map(code, transition.after)) or "stays",
                "" if decided else _listed(transition.late),
            )
        )
    return table(("Event", "Is a", "Takes effect in", "Leads to", "Is late in"), rows)


def _listed(statuses: frozenset[StepStatus]) -> str:
    if statuses == frozenset(StepStatus):
        return "every status"
    return ", ".join(code(status) for status in StepStatus if status in statuses)
