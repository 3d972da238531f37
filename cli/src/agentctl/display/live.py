"""Shows a run while it runs, on stderr: a live view on a terminal, one line for each event elsewhere."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from agentctl.display.output import STATUS_STYLE, clean, duration, money, note, status_text, stderr
from agentctl.display.progress import RunView, StepView, answer, line

if TYPE_CHECKING:
    from rich.console import Console

    from agentflow_sdk import Client, RunEvent, Token

_MARKS: Final = {
    "pending": "·",
    "scheduled": "○",
    "running": "●",
    "retrying": "↻",
    "queued": "⋯",
    "waiting": "◷",
    "completed": "✓",
    "failed": "✗",
    "skipped": "-",
    "cancelled": "■",
    "outcome_unknown": "?",
}
ROWS_MAX: Final = 24
TAIL_LINES_MAX: Final = 4
REFRESH_PER_S: Final = 8


def follow(client: Client, run_id: str, *, chain: bool = False, on_event: Any = None) -> RunView:
    """Watches a run until it ends, and returns what was seen.

    chain: goes on with the run that continues it, and so on; what was seen of the last one is returned.
    on_event: gets each RunEvent instead of the terminal.
    """
    console = stderr()
    drawn = on_event is None and console.is_terminal
    view = RunView(run_id)
    items = client.workflows.watch(run_id, tokens=drawn, chain=chain)
    for name, of_run in groupby(items, _run_of(run_id)):
        if name != view.run_id:
            note(f"run {view.run_id} goes on as {name}")
            view = RunView(name)
        if drawn:
            _live(of_run, view, console)
        else:
            _lines(of_run, view, on_event)
    return view


def _run_of(first: str) -> Callable[[RunEvent | Token], str]:
    """Returns a function that returns the run of each item. Those that name none are of the run before them."""
    run = first

    def of(item: RunEvent | Token) -> str:
        nonlocal run
        run = getattr(item, "run_id", "") or run
        return run

    return of


def _lines(items: Iterable[RunEvent | Token], view: RunView, on_event: Any) -> None:
    from agentflow_sdk import RunEvent

    for item in items:
        if not isinstance(item, RunEvent):
            continue
        view.event(item)
        if on_event is not None:
            on_event(dataclasses.replace(item, run_id=item.run_id or view.run_id))
        else:
            note(clean(line(item, view.submitted_ms)))
            if command := answer(view.run_id, item):
                note(f"            answer it with: {command}")


def _live(items: Iterable[RunEvent | Token], view: RunView, console: Console) -> None:
    from rich.live import Live

    lock = threading.Lock()

    class Picture:
        """Drawn by the refresh thread, so that durations tick while no event comes."""

        def __rich__(self) -> Any:
            with lock:
                return _picture(view, time.time_ns() // 1_000_000, console.width)

    with Live(Picture(), console=console, refresh_per_second=REFRESH_PER_S, transient=False):
        for item in items:
            with lock:
                if hasattr(item, "sequence"):
                    view.event(item)
                else:
                    view.token(item)


def _picture(view: RunView, now_ms: int, width: int) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    elapsed = (view.ended_ms or now_ms) - view.submitted_ms if view.submitted_ms else 0
    head = Text.assemble(
        (view.workflow or "run", "bold"),
        f"  {view.run_id}  ",
        status_text(view.status),
        f"  {view.steps_done}/{view.steps_total} steps  {duration(max(0, elapsed))}  {money(view.cost_nano)}",
    )
    grid = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for column in ("mark", "step", "kind", "time", "detail"):
        grid.add_column(column, justify="right" if column == "time" else "left", no_wrap=column != "detail")
    shown = _chosen(list(view.steps.values()))
    for step in shown:
        grid.add_row(*_row(step, now_ms, view.ended))
    parts: list[Any] = [head, grid]
    if len(shown) < len(view.steps):
        parts.append(Text(f"  and {len(view.steps) - len(shown)} more steps", style="dim"))
    if not view.ended:
        parts.extend(_tail(step, width) for step in view.steps.values() if step.status == "running" and step.tail)
        asked = [step.answer for step in view.steps.values() if step.answer and step.status == "waiting"]
        asked += [view.answer] if view.answer else []
        parts.extend(Text(f"  {clean(command)}", overflow="ignore", no_wrap=True) for command in asked)
    if view.error and all(step.detail != view.error for step in shown):
        parts.append(Text(clean(view.error), style="red"))
    return Group(*parts)


def _chosen(steps: list[StepView]) -> list[StepView]:
    """Returns the steps that fit, those at work before the others, in the definition's order."""
    at_work = {"running", "scheduled", "retrying", "queued", "waiting", "failed"}
    first = sorted(steps, key=lambda step: step.status not in at_work)[:ROWS_MAX]
    return [step for step in steps if step in first]


def _row(step: StepView, now_ms: int, ended: bool) -> tuple[Any, ...]:
    from rich.text import Text

    style = STATUS_STYLE.get(step.status, "")
    took = ""
    if step.status in {"running", "scheduled", "retrying", "waiting"} and step.began_ms and not ended:
        took = duration(max(0, now_ms - step.began_ms))
    elif step.duration_ms:
        took = duration(step.duration_ms)
    detail = clean(step.detail)
    if step.width:
        detail = f"{step.children_done}/{step.width} items {detail}".strip()
    if step.attempt > 1:
        detail = f"attempt {step.attempt}  {detail}"
    if step.cost_nano:
        detail += f" · {money(step.cost_nano)}"
    return Text(_MARKS.get(step.status, "·"), style=style), step.name, Text(step.kind, style="dim"), took, detail


def _tail(step: StepView, width: int) -> Any:
    """Returns the last lines of the answer that a model is writing."""
    import textwrap

    from rich.text import Text

    room = max(20, min(width, 120) - 6)
    lines: list[str] = []
    for paragraph in clean(step.tail).splitlines()[-TAIL_LINES_MAX:]:
        lines.extend(textwrap.wrap(paragraph, room) or [""])
    text = "\n".join(f"    {piece}" for piece in lines[-TAIL_LINES_MAX:])
    return Text(f"  {step.name}:\n{text}", style="dim")
