"""The differences of two runs as one HTML file. It opens without a network and has no scripts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

from agentctl.display.output import duration, money, when
from agentctl.display.traces.diff import BAR, SIGN, name_of, signed_money, signed_time

if TYPE_CHECKING:
    from agentflow_sdk import TraceDiff, TraceDiffField, TraceDiffStep, TraceDiffValue

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --more: #d1495b; --less: #2a9d6f; --mark: #a66a00; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25rem .75rem .25rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; } .n { text-align: right; white-space: nowrap; }
code, pre { font: 13px/1.4 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.more { color: var(--more); } .less { color: var(--less); } ins { color: var(--less); text-decoration: none; }
del { color: var(--more); text-decoration: none; } .first { color: var(--mark); font-weight: 600; }
.summary { font-size: 1.05rem; } details { margin: .3rem 0; } summary { cursor: pointer; }
"""


def page(item: TraceDiff) -> str:
    """Returns the whole file."""
    return "\n".join(_page(item)) + "\n"


def _page(item: TraceDiff) -> Iterator[str]:
    title = f"{item.a.run_id} and {item.b.run_id}"
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
    yield f'<h1>Two runs compared</h1><p class="summary">{escape(item.summary)}</p>'
    yield from _totals(item)
    yield from _before(item)
    yield from _steps(item)
    costs = [(step, step.cost_nano_usd) for step in item.steps]
    times = [(step, step.latency_ms) for step in item.steps]
    yield from _contributors("Cost", costs, item.rest.cost_nano_usd, signed_money)
    yield from _contributors("Time", times, item.rest.latency_ms, signed_time)
    yield from _outputs(item)
    yield "</main></body></html>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Returns a table. The cells are HTML."""

    def cells(tag: str, row: Sequence[str]) -> str:
        marks = [' class="n"' if number in numbers else "" for number in range(len(row))]
        return "".join(f"<{tag}{mark}>{cell}</{tag}>" for mark, cell in zip(marks, row, strict=True))

    lines = [f"<table><thead><tr>{cells('th', head)}</tr></thead><tbody>"]
    return "\n".join([*lines, *(f"<tr>{cells('td', row)}</tr>" for row in rows), "</tbody></table>"])


def _totals(item: TraceDiff) -> Iterator[str]:
    a, b = item.a, item.b
    rows: list[tuple[Any, ...]] = [
        ("run", a.run_id, b.run_id, ""),
        ("workflow", f"{a.workflow} {a.version or ''}", f"{b.workflow} {b.version or ''}", ""),
        ("submitted", when(a.submitted_at), when(b.submitted_at), ""),
        ("status", a.status.value, b.status.value, ""),
        ("steps", a.steps, b.steps, b.steps - a.steps or ""),
        ("cost", money(a.cost_nano_usd), money(b.cost_nano_usd), signed_money(b.cost_nano_usd - a.cost_nano_usd)),
        ("time", duration(a.duration_ms), duration(b.duration_ms), signed_time(b.duration_ms - a.duration_ms)),
    ]
    yield _table(("", "A", "B", "B - A"), [[escape(str(cell)) for cell in row] for row in rows], (3,))


def _before(item: TraceDiff) -> Iterator[str]:
    if not item.parts and item.inputs is None:
        return
    yield "<h2>Before the first step</h2><ul>"
    for part in item.parts:
        yield f"<li><code>{SIGN[part.what]}</code> {escape(part.kind)} <code>{escape(part.name)}</code> "
        yield f"{escape(part.what)}{_fields(part.fields)}</li>"
    if item.inputs is not None:
        yield f"<li>inputs of the run{_value(item.inputs)}</li>"
    yield "</ul>"


def _fields(fields: Sequence[TraceDiffField]) -> str:
    lines = []
    for field in fields:
        place = f"{escape(field.path)}: " if field.path else ""
        old = f"<del>- {place}{escape(field.old)}</del>" if field.old is not None else ""
        new = f"<ins>+ {place}{escape(field.new)}</ins>" if field.new is not None else ""
        lines.append("\n".join(filter(None, (old, new))))
    return _pre(lines) if lines else ""


def _pre(lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    return f"<pre>{text}</pre>"


def _value(value: TraceDiffValue) -> str:
    if value.text:
        marks = {"+": "ins", "-": "del"}
        lines = [
            f"<{mark}>{escape(line)}</{mark}>" if (mark := marks.get(line[:1])) else escape(line)
            for line in value.text.split("\n")
        ]
        return _pre(lines)
    more = f"<p>and {value.left_out:,} more fields</p>" if value.left_out else ""
    if value.fields:
        return _fields(value.fields) + more
    sizes = f"{value.old_bytes:,} -> {value.new_bytes:,} bytes"
    return f"<pre>{escape(f'{sizes}, sha256 {value.old_sha256[:12]} -> {value.new_sha256[:12]}')}</pre>"


def _steps(item: TraceDiff) -> Iterator[str]:
    rows = []
    for step in item.steps:
        if not step.changes:
            continue
        first = '<span class="first">results part here</span>' if step.first else ""
        sides = [escape(side.status.value) if side is not None else "-" for side in (step.a, step.b)]
        name = f"<code>{escape(name_of(step))}</code>"
        rows.append([escape(SIGN[step.what]), name, escape(", ".join(step.changes)), *sides, first])
    yield "<h2>Steps</h2>"
    if rows:
        yield _table(("", "Step", "Differs in", "A", "B", ""), rows)
    yield f"<p>{item.equal_steps:,} steps did the same.</p>"


def _contributors(title: str, found: list[tuple[TraceDiffStep, int]], rest: int, signed: Any) -> Iterator[str]:
    changed = sorted(((step, change) for step, change in found if change), key=lambda each: -abs(each[1]))
    if not changed and not rest:
        return
    greatest = max([abs(change) for _, change in changed] + [abs(rest)])
    rows = [
        [f"<code>{escape(name_of(step))}</code>", escape(signed(change)), _bar(change, greatest)]
        for step, change in changed
    ]
    if rest:
        rows.append(["all else", escape(signed(rest)), _bar(rest, greatest)])
    total = sum(change for _, change in changed) + rest
    rows.append(["<strong>sum</strong>", f"<strong>{escape(signed(total) or '0')}</strong>", ""])
    yield f"<h2>{escape(title)}, the greatest differences first</h2>"
    yield _table(("Step", "B - A", ""), rows, (1,))


def _bar(change: int, greatest: int) -> str:
    length = max(1, round(BAR * abs(change) / greatest))
    return f'<span class="{"more" if change > 0 else "less"}">{chr(0x2588) * length}</span>'


def _outputs(item: TraceDiff) -> Iterator[str]:
    found = [step for step in item.steps if step.output is not None]
    if not found and item.output is None:
        return
    yield "<h2>Outputs</h2>"
    if item.output is not None:
        yield f"<details open><summary>output of the run</summary>{_value(item.output)}</details>"
    for step in sorted(found, key=lambda step: not step.first):
        if step.output is not None:
            shown = " open" if step.first else ""
            yield f"<details{shown}><summary><code>{escape(name_of(step))}</code></summary>"
            yield f"{_value(step.output)}</details>"
