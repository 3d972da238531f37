"""Runs, traces and other answers as people read them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from agentctl.display.output import Columns, clean, counts, duration, money, status_text, stdout, table, table_of, when
from agentctl.display.progress import brief
from agentctl.display.traces.calls import with_calls

if TYPE_CHECKING:
    from agentflow_sdk import (
        Budget,
        Prompt,
        PromptVersion,
        Run,
        RunSummary,
        Step,
        Trace,
        TraceEvent,
        TraceStep,
    )

BAR_COLUMNS: Final = 40
BAR_COLUMNS_MIN: Final = 12


def fields(pairs: Sequence[tuple[str, Any]]) -> Any:
    """Returns two columns, names and values. Pairs with an empty value are left out."""
    from rich.table import Table

    made = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value not in ("", None):
            made.add_row(name, clean(value) if isinstance(value, str) else value)
    return made


def value_text(value: Any) -> str:
    """Returns a text as it is, and any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def output(value: Any, order: Sequence[str] = ()) -> Any:
    """Returns the output of a run: a block for each field of an object, those in `order` first."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    if not isinstance(value, dict):
        return Text(clean(value_text(value)))
    parts: list[Any] = []
    for name in dict.fromkeys([*(key for key in order if key in value), *value]):
        item = value[name]
        plain = isinstance(item, list) and all(isinstance(part, str | int | float) for part in item)
        plain = plain and not any("," in str(part) for part in item)  # else nobody sees where an item ends
        text = clean(", ".join(map(str, item)) if plain else value_text(item)).strip()
        if "\n" in text or len(text) > 90:
            parts.append(Text(f"{name}:", style="bold"))
            parts.append(Padding(Text(text), (0, 0, 0, 2)))
        else:
            parts.append(Text.assemble((f"{name}: ", "bold"), text))
    return Group(*parts)


def title(item: Run | RunSummary | Trace) -> str:
    """Returns `name@version`, with a remark if the run has a definition of its own under that name."""
    return f"{item.workflow}@{item.version}{' (unregistered)' * item.unregistered}"


def _tokens(item: Run | Trace) -> str:
    return f"{item.input_tokens:,} in, {item.output_tokens:,} out" if item.input_tokens or item.output_tokens else ""


def run(item: Run) -> None:
    """Prints a run with its steps and its output."""
    console = stdout()
    error = f"{item.error.type}: {item.error.message}" if item.error else ""
    budget = f" of {money(item.budget_nano_usd)}" if item.budget_nano_usd is not None else ""
    pairs = [
        ("run", item.run_id),
        ("workflow", title(item)),
        ("status", status_text(item.status.value)),
        ("error", error),
        ("reason", item.cancel_reason if item.cancel_reason not in error else ""),
        ("stopped before", ", ".join(item.stopped_before)),
        ("breakpoints", "every step" if item.step_by_step else ", ".join(item.break_at)),
        ("changed", ", ".join(f"{place} by {who}" for place, who in sorted(item.changed_values.items()))),
        ("paused", item.paused_reason),
        ("paused until", when(item.paused_until) if item.paused_until else ""),
        ("waits in", ", ".join(item.waiting_steps[:10])),
        ("part of", f"{item.parent_run_id} ({item.parent_step})" if item.parent_step else ""),
        ("comes from", _origin(item)),
        ("goes on as", item.continued_as),
        ("led to", ", ".join(item.derived_run_ids)),
        ("submitted", when(item.submitted_at)),
        ("duration", duration(item.duration_ms) if item.finished_at else ""),
        ("supersteps", str(item.superstep or "")),
        ("cost", f"{money(item.cost_nano_usd)}{budget}"),
        ("tokens", _tokens(item)),
        ("redactions", counts(item.redactions) if item.redactions else ""),
        ("tags", ", ".join(f"{key}={value}" for key, value in sorted(item.tags.items()))),
        ("trace id", item.trace_id),
    ]
    console.print(fields(pairs))
    if item.steps:
        columns: Columns[Step] = {
            "STEP": lambda step: step.step,
            "TYPE": lambda step: step.type,
            "STATUS": lambda step: status_text(step.status.value),
            "ATTEMPT": lambda step: step.attempt or "",
            "TIME": lambda step: duration(step.duration_ms) if step.finished_at else "",
            "COST": lambda step: money(step.cost_nano_usd) if step.cost_nano_usd else "",
            "ABOUT": lambda step: _about(step, error),
        }
        console.print()
        console.print(table_of(_with_their_parts(item.steps), columns, right=("ATTEMPT", "TIME", "COST")))
    if item.state and item.state != item.output:
        console.print("\nshared state")
        console.print(output(item.state))
    if item.output is not None:
        console.print()
        console.print(output(item.output))


def _origin(item: Run) -> str:
    """Returns where a run comes from: `fork of run_x at b`, `schedule letters`; empty if a client submitted it."""
    run, step = item.origin_run_id, item.origin_step
    texts = {
        "detached": f"step {step} of {run}, detached",
        "continue": f"{run}, which it continues",
        "schedule": f"schedule {item.tags.get('schedule', run)}",
    }
    return texts.get(item.origin_kind, f"{item.origin_kind} of {run}{' at ' * bool(step)}{step}") if run else ""


def _with_their_parts(steps: Sequence[Any]) -> list[Any]:
    """Returns the steps with their parts and iterations (`each[0]`, `better@1`) behind them.

    A later visit (`write#2`) stands behind the steps that were scheduled before it.
    """
    visits = [step for step in steps if re.search(r"#\d+$", step.step) and step.scheduled_at]
    moved = {visit.step for visit in visits}
    ordered = [step for step in steps if step.step not in moved]
    for visit in visits:
        before = (at for at, step in enumerate(ordered, 1) if 0 < step.scheduled_at <= visit.scheduled_at)
        ordered.insert(max(before, default=len(ordered)), visit)
    place = {step.step: number for number, step in enumerate(ordered)}
    return sorted(ordered, key=lambda step: place.get(re.split(r"[\[@]", step.step)[0], place[step.step]))


def _about(step: Any, shown: str) -> str:
    """Returns one line about a step. shown: the error of the run, which is not repeated in full."""
    run = f"run {step.child_run_id}" if step.child_run_id else ""
    if step.error:
        error = f"{step.error.type}: {step.error.message}"
        return (brief(error) if error == shown else error) + (f" ({run})" if run else "")
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
    """Returns a table of runs."""
    columns: Columns[RunSummary] = {
        "RUN": lambda run: run.run_id,
        "WORKFLOW": title,
        "STATUS": lambda run: status_text(run.status.value),
        "SUBMITTED": lambda run: when(run.submitted_at),
        "TIME": lambda run: duration(max(0, run.finished_at - run.submitted_at)) if run.finished_at else "",
        "COST": lambda run: money(run.cost_nano_usd),
        "TAGS": lambda run: ", ".join(f"{key}={value}" for key, value in sorted(run.tags.items())),
    }
    return table_of(items, columns, right=("TIME", "COST"), empty=empty, less=("TAGS", "COST", "TIME"))


def chain(items: Sequence[Run]) -> Any:
    """Returns a table of the runs of a chain, with their sum."""
    rows = [
        (
            item.run_id,
            status_text(item.status.value),
            when(item.submitted_at),
            duration(max(0, item.finished_at - item.submitted_at)) if item.finished_at else "",
            money(item.cost_nano_usd),
        )
        for item in items
    ]
    last = max(item.finished_at for item in items) if all(item.finished_at for item in items) else 0
    whole = duration(max(0, last - items[0].submitted_at)) if last else ""
    rows.append((f"{len(items):,} runs", "", "", whole, money(sum(item.cost_nano_usd for item in items))))
    return table(("RUN", "STATUS", "SUBMITTED", "TIME", "COST"), rows)


def prompt(item: Prompt) -> None:
    """Prints a prompt with its texts."""
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
    """Returns a table of prompts."""
    columns: Columns[Prompt] = {
        "NAME": lambda prompt: prompt.name,
        "VERSION": lambda prompt: prompt.version,
        "TASK": lambda prompt: prompt.task,
        "LABELS": lambda prompt: ", ".join(prompt.labels),
        "CREATED": lambda prompt: when(prompt.created_at),
        "DESCRIPTION": lambda prompt: prompt.description,
    }
    empty = "no prompts of that name: agentctl prompt create NAME --template @FILE"
    return table_of(items, columns, right=("VERSION",), empty=empty, less=("CREATED", "TASK", "LABELS"))


def prompt_versions(items: Sequence[PromptVersion]) -> Any:
    """Returns a table of the versions of a prompt."""
    columns: Columns[PromptVersion] = {
        "VERSION": lambda item: item.version,
        "LABELS": lambda item: ", ".join(item.labels),
        "CREATED": lambda item: when(item.created_at),
        "BY": lambda item: item.created_by,
        "SHA256": lambda item: item.sha256[:12],
        "DESCRIPTION": lambda item: item.description,
    }
    return table_of(items, columns, right=("VERSION",), less=("SHA256", "BY", "DESCRIPTION"))


def budgets(items: Sequence[Budget]) -> Any:
    """Returns a table of budgets."""
    columns: Columns[Budget] = {
        "NAME": lambda budget: budget.name,
        "ID": lambda budget: budget.id,
        "SCOPE": lambda budget: budget.scope,
        "PERIOD": lambda budget: budget.period.value,
        "LIMIT": lambda budget: money(budget.limit_nano_usd),
        "SPENT": lambda budget: money(budget.spent_nano_usd),
        "RESERVED": lambda budget: money(budget.reserved_nano_usd),
        "LEFT": lambda budget: money(max(0, budget.limit_nano_usd - budget.spent_nano_usd - budget.reserved_nano_usd)),
        "PERIOD ENDS": lambda budget: when(budget.period_end),
    }
    empty = "no budgets yet: agentctl budget create --limit 100"
    amounts = ("LIMIT", "SPENT", "RESERVED", "LEFT")
    return table_of(items, columns, right=amounts, empty=empty, less=("ID", "RESERVED"))


def trace_head(item: Trace) -> Any:
    """Returns what is known about a traced run as a whole."""
    return fields(
        [
            ("run", item.run_id),
            ("workflow", title(item) if item.version else item.workflow),
            ("status", status_text(item.status.value)),
            ("started", when(item.started_at)),
            ("duration", duration(item.finished_at - item.started_at) if item.finished_at else ""),
            ("cost", money(item.cost_nano_usd)),
            ("tokens", _tokens(item)),
            ("redactions", counts(item.redactions) if item.redactions else ""),
            ("trace id", item.trace_id),
        ]
    )


def trace_table(item: Trace) -> Any:
    """Returns a table of the attempts in a trace."""
    columns: Columns[TraceStep] = {
        "STEP": lambda step: step.step,
        "ATTEMPT": lambda step: step.attempt,
        "STATUS": lambda step: status_text(step.status.value),
        "WAIT": lambda step: duration(step.wait_ms),
        "TIME": lambda step: duration(step.duration_ms),
        "ROUTE": lambda step: f"{step.provider}/{step.model}" if step.provider else "",
        "FINISH": lambda step: step.finish_reason,
        "TOKENS": lambda step: (
            f"{step.input_tokens:,}+{step.output_tokens:,}" if step.input_tokens or step.output_tokens else ""
        ),
        "COST": lambda step: money(step.cost_nano_usd) if step.cost_nano_usd else "",
        "WORKER": lambda step: step.worker,
        "ERROR": lambda step: step.error,
    }
    return table_of(item.steps, columns, right=("ATTEMPT", "WAIT", "TIME", "TOKENS", "COST"))


def timeline(item: Trace) -> Any:
    """Returns each attempt as a bar over the run's time: light while it waits for a worker, solid while it works.

    The time begins with the submission, and a run that waited for its run lane has a row of its own.
    """
    from rich.text import Text

    began = item.started_at or min((step.scheduled_at for step in item.steps if step.scheduled_at), default=0)
    ended = max((_end(step) for step in item.steps), default=item.finished_at) or item.finished_at
    span = max(1, ended - began)
    rows = []
    # in the order of the log; by time they would depend on the clocks of several services
    for step in (*_in_run_lane(item), *with_calls(item.steps)):
        name = f"{step.step} #{step.attempt}" if step.attempt > 1 else step.step
        at = f"+{duration(max(0, step.scheduled_at - began))}" if step.scheduled_at else ""
        about = f"{step.provider}/{step.model}" if step.provider else brief(step.error) or step.reason
        if step.provider and step.finish_reason not in ("", "stop"):
            about += f" ({step.finish_reason})"
        rows.append((name, status_text(step.status.value), at, duration(step.duration_ms), step, about))
    columns = _bar_columns(rows, stdout().width)
    drawn = [(*row[:4], Text(_bar(row[4], began, span, columns), style=row[1].style), row[5]) for row in rows]
    less = ("ABOUT",) if columns == BAR_COLUMNS_MIN else ()
    return table(("STEP", "STATUS", "AT", "TIME", "TIMELINE", "ABOUT"), drawn, right=("AT", "TIME"), less=less)


def _in_run_lane(item: Trace) -> list[TraceStep]:
    """Returns the wait of the run for a slot of its run lane, as if it were a step; no item if it did not wait."""
    from agentflow_sdk import StepStatus, TraceStep

    asked = [event for event in item.events if event.type in ("run.queued", "run.slot_granted")]
    if not asked:
        return []
    queued, begun = asked[0].ts, asked[-1].ts if asked[-1].type == "run.slot_granted" else 0
    until = begun or item.finished_at
    status = StepStatus.COMPLETED if begun else StepStatus.CANCELLED if until else StepStatus.QUEUED
    took, reason = max(0, until - queued), "waited for its run lane" if until else "waits for its run lane"
    return [TraceStep("(the run)", 1, status, queued, 0, until, duration_ms=took, reason=reason)]


def _bar_columns(rows: Sequence[Sequence[Any]], width: int) -> int:
    """Returns how wide the bars may be so that the rest fits beside them."""
    headers = ("STEP", "STATUS", "AT", "TIME", "", "ABOUT")
    named = [(number, name) for number, name in enumerate(headers) if name and rows]
    others = sum(max(len(name), *(len(str(row[number])) for row in rows)) + 2 for number, name in named)
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
    """Returns a table of the events in a trace."""
    began = item.events[0].ts if item.events else 0
    columns: Columns[TraceEvent] = {
        "STREAM": lambda event: event.stream,
        "SEQUENCE": lambda event: event.sequence,
        "AT": lambda event: f"+{duration(max(0, event.ts - began))}",
        "TYPE": lambda event: event.type,
        "STEP": lambda event: event.step,
    }
    return table_of(item.events, columns, right=("SEQUENCE", "AT"))
