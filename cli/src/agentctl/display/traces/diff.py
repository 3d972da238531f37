"""The differences of two runs as people read them: what differs at the start first, then the greatest contributors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agentctl.display.output import clean, duration, money, some, table

if TYPE_CHECKING:
    from agentflow_sdk import TraceDiff, TraceDiffField, TraceDiffPart, TraceDiffStep, TraceDiffValue

BAR: Final = 24  # the length of the greatest bar
SHOWN_MAX: Final = 15  # steps of one section, unless all are asked for
SIGN: Final = {"added": "+", "removed": "-", "changed": "~", "renamed": ">", "same": " "}
STYLE: Final = {"+": "green", "-": "red", "~": "yellow", ">": "cyan", " ": ""}
_VALUE_FIELDS: Final = 5  # of one step
_VALUE_CHARS: Final = 90
_CONTEXT: Final = 20  # characters before the first difference of two texts


class Sections(NamedTuple):
    """The sections to show beside the head."""

    costs: bool = True
    latency: bool = True
    outputs: bool = True
    everything: bool = False  # all steps, not only the greatest differences


def render(item: TraceDiff, sections: Sections) -> Iterator[Any]:
    """Yields the parts of the text, in order."""
    from rich.text import Text

    yield Text(clean(item.summary), style="bold")
    yield ""
    yield _totals(item)
    yield from _section("BEFORE THE FIRST STEP", _before(item))
    yield from _section("STEPS", _steps(item, sections))
    nothing = [Text("  no difference", style="dim")]
    if sections.costs:
        yield from _section("COST, THE GREATEST DIFFERENCES FIRST", _contributors(item, sections, _COST) or nothing)
    if sections.latency:
        yield from _section("TIME, THE GREATEST DIFFERENCES FIRST", _contributors(item, sections, _TIME) or nothing)
    if sections.outputs:
        yield from _section("OUTPUTS", _outputs(item, sections) or nothing)


def _section(title: str, lines: list[Any]) -> Iterator[Any]:
    from rich.text import Text

    if lines:
        yield ""
        yield Text(title, style="bold")
        yield from lines


def _totals(item: TraceDiff) -> Any:
    a, b = item.a, item.b
    rows = [
        ("run", a.run_id, b.run_id, ""),
        ("workflow", f"{a.workflow} {a.version or ''}", f"{b.workflow} {b.version or ''}", ""),
        ("status", a.status.value, b.status.value, ""),
        ("steps", a.steps, b.steps, f"{b.steps - a.steps:+d}" if a.steps != b.steps else ""),
        ("cost", money(a.cost_nano_usd), money(b.cost_nano_usd), signed_money(b.cost_nano_usd - a.cost_nano_usd)),
        ("time", duration(a.duration_ms), duration(b.duration_ms), signed_time(b.duration_ms - a.duration_ms)),
        ("tokens", _tokens(a), _tokens(b), ""),
    ]
    return table(("", "A", "B", "B - A"), rows, right=("B - A",))


def _tokens(run: Any) -> str:
    return f"{run.input_tokens:,} in, {run.output_tokens:,} out"


def signed_money(nano: int) -> str:
    """Returns a difference of amounts with its sign; empty for none."""
    return f"{'-' if nano < 0 else '+'}{money(abs(nano))}" if nano else ""


def signed_time(ms: int) -> str:
    """Returns a difference of durations with its sign; empty for none."""
    return f"{'-' if ms < 0 else '+'}{duration(abs(ms))}" if ms else ""


def name_of(step: TraceDiffStep) -> str:
    """Returns the key of a step, both keys if they differ."""
    names = [side.step for side in (step.a, step.b) if side is not None]
    return " -> ".join(dict.fromkeys(names))


def _signed(sign: str, text: str, indent: int = 0) -> Any:
    from rich.text import Text

    return Text(f"{' ' * indent}{sign} {clean(text)}", style=STYLE.get(sign, ""))


def _before(item: TraceDiff) -> list[Any]:
    lines: list[Any] = []
    for part in item.parts:
        lines.append(_signed(SIGN[part.what], _part_name(part)))
        lines.extend(_field_lines(part.fields, part.what) if part.what != "renamed" else ())
    if item.inputs is not None:
        lines.append(_signed("~", "inputs of the run"))
        lines.extend(_value_lines(item.inputs))
    return lines


def _part_name(part: TraceDiffPart) -> str:
    old = f" (was {part.fields[0].old})" if part.what == "renamed" and part.fields else ""
    return f"{part.kind} {part.name}{old}"


def _field_lines(fields: Sequence[TraceDiffField], what: str = "changed") -> list[Any]:
    lines: list[Any] = []
    for field in fields:
        place = f"{field.path}: " if field.path else ""
        if what == "added" or field.old is None:
            lines.append(_signed("+", f"{place}{_cut(field.new)}", 4))
        elif field.new is None:
            lines.append(_signed("-", f"{place}{_cut(field.old)}", 4))
        else:
            old, new = _around(field.old, field.new)
            lines.append(_signed("~", f"{place}{old} -> {new}", 4))
    return lines


def _around(old: str, new: str) -> tuple[str, str]:
    """Returns two texts, long ones cut to what differs and some words around it."""
    old, new = " ".join(old.split()), " ".join(new.split())
    same = zip(old, new, strict=False)
    start = next((number for number, (left, right) in enumerate(same) if left != right), min(len(old), len(new)))
    start = max(0, old.rfind(" ", 0, max(0, start - _CONTEXT)) + 1) if start > 2 * _CONTEXT else 0
    shown = []
    for text in (old, new):
        cut = _cut(text[start:])
        shown.append(f"...{cut}" if start else cut)
    return shown[0], shown[1]


def _cut(text: str | None) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= _VALUE_CHARS else f"{line[: _VALUE_CHARS - 3]}..."


def _value_lines(value: TraceDiffValue, most: int = _VALUE_FIELDS) -> list[Any]:
    if value.text:
        return [_signed(line[:1] if line[:1] in "+-" else " ", line[1:], 4) for line in value.text.split("\n")]
    lines = _field_lines(value.fields[:most])
    more = len(value.fields[most:]) + value.left_out
    if more:
        lines.append(_signed(" ", f"and {some(more, 'more field')}", 4))
    if not lines:
        sizes = f"{value.old_bytes:,} -> {value.new_bytes:,} bytes"
        lines.append(_signed("~", f"{sizes}, sha256 {value.old_sha256[:12]} -> {value.new_sha256[:12]}", 4))
    return lines


def _steps(item: TraceDiff, sections: Sections) -> list[Any]:
    from rich.text import Text

    found = [step for step in item.steps if step.changes]
    if not found:
        return [Text(f"  all {some(item.equal_steps, 'step')} did the same")] if item.equal_steps else []
    shown = found if sections.everything else found[: 2 * SHOWN_MAX]
    rows = []
    for step in shown:
        sign = SIGN[step.what]
        where = Text("results part here" if step.first else "", style="magenta")
        mark = Text(sign, style=STYLE[sign])
        rows.append((mark, clean(name_of(step)), ", ".join(step.changes), _detail(step), where))
    lines = [table(("", "STEP", "DIFFERS IN", "", ""), rows)]
    rest = [*([some(len(found) - len(shown), "more step") + ": --all"] if len(shown) < len(found) else [])]
    rest += [f"{some(item.equal_steps, 'step')} did the same"] if item.equal_steps else []
    return [*lines, Text(f"  {'; '.join(rest)}", style="dim")] if rest else lines


def _detail(step: TraceDiffStep) -> str:
    a, b = step.a, step.b
    if a is None or b is None:
        return (b or a).status.value  # type: ignore[union-attr]
    said = []
    if "status" in step.changes:
        said.append(f"{a.status.value} -> {b.status.value}")
    if "attempts" in step.changes:
        said.append(f"{some(a.attempts, 'attempt')} -> {b.attempts}")
    if {"model", "provider"} & set(step.changes):
        said.append(f"{a.provider}/{a.model} -> {b.provider}/{b.model}")
    if "prompt" in step.changes:
        said.append(f"{a.prompt or '-'} -> {b.prompt or '-'}")
    if "error" in step.changes and b.error:
        said.append(_cut(b.error))
    return ", ".join(said)


class _Measure(NamedTuple):
    of_step: Callable[[Any], int]
    of_side: Callable[[Any], int]
    text: Callable[[int], str]
    signed: Callable[[int], str]


def _share(side: Any) -> int:
    return sum(side.path_ms.values())


_COST: Final = _Measure(lambda item: item.cost_nano_usd, lambda side: side.cost_nano_usd, money, signed_money)
_TIME: Final = _Measure(lambda item: item.latency_ms, _share, duration, signed_time)


def _contributors(item: TraceDiff, sections: Sections, measure: _Measure) -> list[Any]:
    from rich.text import Text

    found = sorted((step for step in item.steps if measure.of_step(step)), key=lambda step: -abs(measure.of_step(step)))
    shown = found if sections.everything else found[:SHOWN_MAX]
    rest = sum(map(measure.of_step, found[len(shown) :])) + measure.of_step(item.rest)
    if not found and not rest:
        return []
    greatest = max([abs(measure.of_step(step)) for step in found] + [abs(rest), 1])
    rows: list[tuple[Any, ...]] = []
    for step in shown:
        change = measure.of_step(step)
        sides = [measure.text(measure.of_side(side)) if side is not None else "-" for side in (step.a, step.b)]
        why = _kinds(step) if measure is _TIME else _models(step)
        rows.append((clean(name_of(step)), *sides, measure.signed(change), _bar(change, greatest), clean(why)))
    if rest:
        rows.append(("all else", "", "", measure.signed(rest), _bar(rest, greatest), ""))
    total = sum(map(measure.of_step, item.steps)) + measure.of_step(item.rest)
    rows.append((Text("sum", style="bold"), "", "", Text(measure.signed(total) or "0", style="bold"), "", ""))
    return [table(("STEP", "A", "B", "B - A", "", ""), rows, right=("A", "B", "B - A"))]


def _bar(change: int, greatest: int) -> Any:
    from rich.text import Text

    length = max(1, round(BAR * abs(change) / greatest)) if change else 0
    return Text("\N{FULL BLOCK}" * length, style="red" if change > 0 else "green")


def _models(step: TraceDiffStep) -> str:
    a, b = step.a, step.b
    if a is not None and b is not None and "model" in step.changes:
        return f"{a.model} -> {b.model}"
    side = b or a
    return side.model if side is not None else ""


def _kinds(step: TraceDiffStep) -> str:
    """Returns the kinds of time that changed, the greatest first."""
    before = step.a.path_ms if step.a is not None else {}
    after = step.b.path_ms if step.b is not None else {}
    changes = {kind: after.get(kind, 0) - before.get(kind, 0) for kind in (*before, *after)}
    order = sorted((kind for kind in changes if changes[kind]), key=lambda kind: -abs(changes[kind]))
    return ", ".join(f"{kind} {signed_time(changes[kind])}" for kind in order)


def _outputs(item: TraceDiff, sections: Sections) -> list[Any]:
    found = [step for step in item.steps if step.output is not None]
    found.sort(key=lambda step: not step.first)
    shown = found if sections.everything else found[:SHOWN_MAX]
    lines: list[Any] = []
    if item.output is not None:
        lines += [_signed("~", "output of the run"), *_value_lines(item.output)]
    for step in shown:
        lines.append(_signed("~", name_of(step)))
        if step.output is not None:
            lines += _value_lines(step.output)
    if len(shown) < len(found):
        lines.append(_signed(" ", f"{some(len(found) - len(shown), 'more step')}: --all"))
    return lines
