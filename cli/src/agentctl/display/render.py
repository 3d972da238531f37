"""Runs, traces and the rest as people read them (the table format)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from agentctl.display.output import clean, counts, duration, money, status_text, stdout, table, when

if TYPE_CHECKING:
    from agentflow_sdk import Budget, Prompt, Run, RunSummary, Trace, TraceStep, TraceSummary

BAR_COLUMNS: Final = 40
BAR_COLUMNS_MIN: Final = 12


def fields(pairs: Sequence[tuple[str, Any]]) -> Any:
    """Two columns: names and values; pairs with an empty value are left out."""
    from rich.table import Table

    made = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value not in ("", None):
            made.add_row(name, clean(value) if isinstance(value, str) else value)
    return made


def value_text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def output(value: Any, order: Sequence[str] = ()) -> Any:
    """A run's output: one block for each field of an object, those named in `order` first."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    if not isinstance(value, dict):
        return Text(clean(value_text(value)))
    parts: list[Any] = []
    for name in dict.fromkeys([*(key for key in order if key in value), *value]):
        item = value[name]
        plain = isinstance(item, list) and all(isinstance(part, str | int | float) for part in item)
        text = clean(", ".join(map(str, item)) if plain else value_text(item)).strip()
        if "\n" in text or len(text) > 90:
            parts.append(Text(f"{name}:", style="bold"))
            parts.append(Padding(Text(text), (0, 0, 0, 2)))
        else:
            parts.append(Text.assemble((f"{name}: ", "bold"), text))
    return Group(*parts)


def title(item: Run | RunSummary | Trace) -> str:
    """`name@version`, and whether the run has a definition of its own under that name."""
    return f"{item.workflow}@{item.version}{' (unregistered definition)' * item.unregistered}"


def run(item: Run) -> None:
    console = stdout()
    error = f"{item.error.type}: {item.error.message}" if item.error else ""
    budget = f" of {money(item.budget_nano_usd)}" if item.budget_nano_usd is not None else ""
    tokens = f"{item.input_tokens:,} in, {item.output_tokens:,} out" if item.input_tokens or item.output_tokens else ""
    pairs = [
        ("run", item.run_id),
        ("workflow", title(item)),
        ("status", status_text(item.status.value)),
        ("error", error),
        ("paused", item.paused_reason),
        ("waits in", ", ".join(item.waiting_steps[:10])),
        ("part of", f"{item.parent_run_id} ({item.parent_step})" if item.parent_run_id else ""),
        ("comes from", f"{item.origin_kind} of {item.origin_run_id}" if item.origin_run_id else ""),
        ("goes on as", item.continued_as),
        ("led to", ", ".join(item.derived_run_ids)),
        ("submitted", when(item.submitted_at)),
        ("duration", duration(item.duration_ms) if item.finished_at else ""),
        ("cost", f"{money(item.cost_nano_usd)}{budget}"),
        ("tokens", tokens),
        ("redactions", counts(item.redactions) if item.redactions else ""),
        ("tags", ", ".join(f"{key}={value}" for key, value in sorted(item.tags.items()))),
        ("trace id", item.trace_id),
    ]
    console.print(fields(pairs))
    if item.steps:
        rows = [
            (
                step.step,
                step.type,
                status_text(step.status.value),
                str(step.attempt or ""),
                duration(step.duration_ms) if step.finished_at else "",
                money(step.cost_nano_usd) if step.cost_nano_usd else "",
                _about(step),
            )
            for step in _with_their_parts(item.steps)
        ]
        console.print()
        columns = ("STEP", "TYPE", "STATUS", "ATTEMPT", "TIME", "COST", "ABOUT")
        console.print(table(columns, rows, right=("ATTEMPT", "TIME", "COST")))
    if item.output is not None:
        console.print()
        console.print(output(item.output))


def _with_their_parts(steps: Sequence[Any]) -> list[Any]:
    """Children and iterations (`each[0]`, `better@1`) after the step that holds them."""
    place = {step.step: number for number, step in enumerate(steps)}
    return sorted(steps, key=lambda step: place.get(re.split(r"[\[@]", step.step)[0], place[step.step]))


def _about(step: Any) -> str:
    run = f"run {step.child_run_id}" if step.child_run_id else ""
    if step.error:
        return f"{step.error.type}: {step.error.message}" + (f" ({run})" if run else "")
    if step.skip_reason:
        return str(step.skip_reason)
    if step.waiting_for:
        return f"waits for {step.child_run_id or step.lane or step.waiting_for}"
    if step.progress:
        return f"{step.progress:.0%} {step.progress_detail}".strip()
    if step.seeded:
        return "kept"
    return f"{step.provider}/{step.model} {step.prompt}".strip() if step.provider else run


def runs(items: Sequence[RunSummary], empty: str = "no runs yet: agentctl workflow submit FILE") -> Any:
    rows = [
        (
            item.run_id,
            title(item),
            status_text(item.status.value),
            when(item.submitted_at),
            duration(max(0, item.finished_at - item.submitted_at)) if item.finished_at else "",
            money(item.cost_nano_usd),
            ", ".join(f"{key}={value}" for key, value in sorted(item.tags.items())),
        )
        for item in items
    ]
    columns = ("RUN", "WORKFLOW", "STATUS", "SUBMITTED", "TIME", "COST", "TAGS")
    return table(columns, rows, right=("TIME", "COST"), empty=empty, less=("TAGS", "COST", "TIME"))


def prompt(item: Prompt) -> None:
    console = stdout()
    limits = f"{item.max_output_tokens} tokens" if item.max_output_tokens else ""
    pairs = [
        ("prompt", item.ref),
        ("description", item.description),
        ("labels", ", ".join(item.labels)),
        ("task", item.task),
        ("output limit", limits),
        ("temperature", f"{item.temperature:g}" if item.temperature else ""),
        ("created", f"{when(item.created_at)} by {item.created_by or 'unknown'}"),
        ("sha256", item.sha256),
        ("inputs", json.dumps(item.inputs_schema, ensure_ascii=False) if item.inputs_schema else ""),
    ]
    console.print(fields(pairs))
    for name, text in (("system", item.system), ("template", item.template)):
        if text:
            console.print(f"\n{name}:", style="bold")
            console.print(clean(text))


def prompts(items: Sequence[Prompt]) -> Any:
    rows = [(p.name, str(p.version), p.task, ", ".join(p.labels), when(p.created_at), p.description) for p in items]
    return table(("NAME", "VERSION", "TASK", "LABELS", "CREATED", "DESCRIPTION"), rows, right=("VERSION",),
                 empty="no prompts of that name: agentctl prompt create NAME --template @FILE",
                 less=("CREATED", "TASK", "LABELS"))  # fmt: skip


def budgets(items: Sequence[Budget]) -> Any:
    rows = [
        (
            item.name,
            item.id,
            item.scope,
            item.period.value,
            money(item.limit_nano_usd),
            money(item.spent_nano_usd),
            money(item.reserved_nano_usd),
            money(max(0, item.limit_nano_usd - item.spent_nano_usd - item.reserved_nano_usd)),
            when(item.period_end),
        )
        for item in items
    ]
    columns = ("NAME", "ID", "SCOPE", "PERIOD", "LIMIT", "SPENT", "RESERVED", "LEFT", "PERIOD ENDS")
    none = "no budgets yet: agentctl budget create --limit 100"
    return table(columns, rows, right=("LIMIT", "SPENT", "RESERVED", "LEFT"), empty=none, less=("ID", "RESERVED"))


def trace_summaries(items: Sequence[TraceSummary]) -> Any:
    rows = [
        (
            item.run_id,
            item.workflow,
            status_text(item.status.value),
            when(item.started_at),
            duration(item.duration_ms),
            str(item.steps),
            money(item.cost_nano_usd),
        )
        for item in items
    ]
    columns = ("RUN", "WORKFLOW", "STATUS", "STARTED", "TIME", "STEPS", "COST")
    none = "no runs in that time: look further back with --start 7d"
    return table(columns, rows, right=("TIME", "STEPS", "COST"), empty=none, less=("COST", "STEPS", "TIME"))


def trace_head(item: Trace) -> Any:
    tokens = f"{item.input_tokens:,} in, {item.output_tokens:,} out" if item.input_tokens or item.output_tokens else ""
    return fields(
        [
            ("run", item.run_id),
            ("workflow", title(item) if item.version else item.workflow),
            ("status", status_text(item.status.value)),
            ("started", when(item.started_at)),
            ("duration", duration(item.finished_at - item.started_at) if item.finished_at else ""),
            ("cost", money(item.cost_nano_usd)),
            ("tokens", tokens),
            ("redactions", counts(item.redactions) if item.redactions else ""),
            ("trace id", item.trace_id),
        ]
    )


def trace_table(item: Trace) -> Any:
    rows = [
        (
            step.step,
            str(step.attempt),
            status_text(step.status.value),
            duration(step.wait_ms),
            duration(step.duration_ms),
            f"{step.provider}/{step.model}" if step.provider else "",
            step.finish_reason,
            f"{step.input_tokens:,}+{step.output_tokens:,}" if step.input_tokens or step.output_tokens else "",
            money(step.cost_nano_usd) if step.cost_nano_usd else "",
            step.worker,
            step.error,
        )
        for step in item.steps
    ]
    columns = ("STEP", "ATTEMPT", "STATUS", "WAIT", "TIME", "ROUTE", "FINISH", "TOKENS", "COST", "WORKER", "ERROR")
    return table(columns, rows, right=("ATTEMPT", "WAIT", "TIME", "TOKENS", "COST"))


def timeline(item: Trace) -> Any:
    """Each attempt as a bar over the run's time: light while it waits for a worker, solid while it works."""
    from rich.text import Text

    began = min((step.scheduled_at for step in item.steps if step.scheduled_at), default=item.started_at)
    ended = max((_end(step) for step in item.steps), default=item.finished_at) or item.finished_at
    span = max(1, ended - began)
    rows = []
    for step in sorted(item.steps, key=lambda s: (s.scheduled_at, s.step, s.attempt)):
        name = f"{step.step} #{step.attempt}" if step.attempt > 1 else step.step
        at = f"+{duration(max(0, step.scheduled_at - began))}" if step.scheduled_at else ""
        about = f"{step.provider}/{step.model}" if step.provider else step.error
        if step.provider and step.finish_reason not in ("", "stop"):
            about += f" ({step.finish_reason})"
        rows.append((name, status_text(step.status.value), at, duration(step.duration_ms), step, about))
    columns = _bar_columns(rows, stdout().width)
    drawn = [(*row[:4], Text(_bar(row[4], began, span, columns), style=row[1].style), row[5]) for row in rows]
    less = ("ABOUT",) if columns == BAR_COLUMNS_MIN else ()
    return table(("STEP", "STATUS", "AT", "TIME", "TIMELINE", "ABOUT"), drawn, right=("AT", "TIME"), less=less)


def _bar_columns(rows: Sequence[Sequence[Any]], width: int) -> int:
    """Returns how wide the bars may be so that the rest fits beside them."""
    headers = ("STEP", "STATUS", "AT", "TIME", "", "ABOUT")
    others = sum(
        max(len(name), *(len(str(row[number])) for row in rows)) + 2 for number, name in enumerate(headers) if name
    ) if rows else 0  # fmt: skip
    return min(BAR_COLUMNS, max(BAR_COLUMNS_MIN, width - others - 2))


def _end(step: TraceStep) -> int:
    return step.finished_at or step.started_at or step.scheduled_at


def _bar(step: TraceStep, began: int, span: int, columns: int) -> str:
    def column(ms: int) -> int:
        return min(columns - 1, max(0, (ms - began) * columns // span))

    if not step.scheduled_at:
        return ""
    first, last = column(step.scheduled_at), column(_end(step))
    work = column(step.started_at) if step.started_at else last
    return " " * first + "░" * max(0, work - first) + "█" * (last - work + 1)


def trace_events(item: Trace) -> Any:
    began = item.events[0].ts if item.events else 0
    rows = [
        (event.stream, str(event.sequence), f"+{duration(max(0, event.ts - began))}", event.type, event.step)
        for event in item.events
    ]
    return table(("STREAM", "SEQUENCE", "AT", "TYPE", "STEP"), rows, right=("SEQUENCE", "AT"))
