"""The steps of a trace as a tree for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agentctl.display.output import clean, duration, money, some, status_text
from agentctl.display.progress import brief
from agentctl.display.traces.family import Member, families

if TYPE_CHECKING:
    from agentflow_sdk import Trace


def tree(trace: Trace, children: Mapping[str, Trace] | None = None) -> Any:
    """Returns the steps below their parents, with status, time, cost and tokens. `◆` marks the critical path."""
    from rich.text import Text
    from rich.tree import Tree

    took = duration(trace.finished_at - trace.started_at) if trace.finished_at else ""
    steps = some(len({step.step for step in trace.steps}), "step")
    parts = [steps, took, money(trace.cost_nano_usd) if trace.cost_nano_usd else ""]
    root = Tree(Text.assemble((clean(trace.workflow), "bold"), " ", status_text(trace.status.value), _more(parts)))
    for member in families(trace, children):
        _add(root, member)
    return root


def _add(place: Any, member: Member) -> None:
    newest = member.newest
    read, wrote = member.tokens
    parts = [
        newest.kind,
        duration(max(0, member.ended - member.began)) if member.ended and member.began else "",
        money(member.cost_nano) if member.cost_nano else "",
        f"{read:,}+{wrote:,} tokens" if read or wrote else "",
        f"{newest.provider}/{newest.model}" if newest.provider else "",
        newest.reason,
        brief(newest.error),
    ]
    below = place.add(_line(member.key, newest.status.value, parts, member.critical_ms))
    if len(member.attempts) > 1:
        for attempt in member.attempts:
            details = [duration(attempt.duration_ms), attempt.worker, brief(attempt.error)]
            below.add(_line(f"attempt {attempt.attempt}", attempt.status.value, details))
    for part in member.below:
        _add(below, part)


def _line(name: str, status: str, parts: list[str], critical_ms: int = 0) -> Any:
    from rich.text import Text

    mark = (f"  ◆ {duration(critical_ms)}", "bold") if critical_ms else ""
    return Text.assemble(clean(name), " ", status_text(status), _more(parts), mark)


def _more(parts: list[str]) -> tuple[str, str]:
    shown = "  ".join(clean(part) for part in parts if part)
    return (f"  {shown}" if shown else "", "dim")
