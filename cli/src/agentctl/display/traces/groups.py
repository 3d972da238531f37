"""The differences of two groups of runs as people read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from agentctl.display.output import clean, duration, money, table

if TYPE_CHECKING:
    from agentflow_sdk import TraceGroupMeasure, TraceGroups, TraceGroupStep


def render(item: TraceGroups) -> Iterator[Any]:
    """Yields the parts of the text, in order."""
    from rich.text import Text

    yield Text(clean(item.summary), style="bold")
    yield ""
    names = [f"{side.workflow} {side.version or ''} ({side.runs} runs)" for side in (item.a, item.b)]
    yield f"A: {clean(names[0])}   B: {clean(names[1])}"
    if not item.measures:
        return
    yield ""
    yield Text("WHOLE RUNS, MEDIANS", style="bold")
    yield _table([("", measure) for measure in item.measures])
    shown = [(name_of(step), measure) for step in item.steps for measure in step.measures if measure.significant]
    yield ""
    yield Text("STEPS THAT CHANGED", style="bold")
    yield _table(shown) if shown else Text("  none significantly", style="dim")
    only = [step for step in item.steps if not step.a or not step.b]
    if only:
        yield ""
        yield Text("STEPS OF ONE GROUP", style="bold")
        for step in only:
            sign, style = ("+", "green") if step.b else ("-", "red")
            yield Text(f"{sign} {clean(step.b or step.a)}, in {step.b_runs or step.a_runs} runs", style=style)
    yield ""
    yield Text(clean(item.method), style="dim")


def name_of(step: TraceGroupStep) -> str:
    """Returns the node's name, both names of a renamed one."""
    return " -> ".join(dict.fromkeys(name for name in (step.a, step.b) if name))


def _table(rows: list[tuple[str, TraceGroupMeasure]]) -> Any:
    from rich.text import Text

    made = []
    for name, one in rows:
        style = "" if not one.significant else "red" if one.change > 0 else "green"
        interval = f"{_signed(one, one.low)} to {_signed(one, one.high)}"
        verdict = f"p {one.p_value:.3f}" if one.significant else "may be chance"
        change = Text(_signed(one, one.change), style=style)
        made.append((clean(name), one.name, _amount(one, one.a), _amount(one, one.b), change, interval, verdict))
    columns = ("STEP", "", "A", "B", "B - A", "95% INTERVAL", "")
    return table(columns, made, right=("A", "B", "B - A", "95% INTERVAL"))


def _amount(measure: TraceGroupMeasure, value: int) -> str:
    if measure.unit == "nano_usd":
        return money(value)
    if measure.unit == "ms":
        return duration(value)
    return f"{value / 10_000:.1f} %" if measure.unit == "per_million" else f"{value:,}"


def _signed(measure: TraceGroupMeasure, value: int) -> str:
    return f"{'-' if value < 0 else '+' if value else ''}{_amount(measure, abs(value))}"
