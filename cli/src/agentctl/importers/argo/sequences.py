"""Sequences of Argo (`withSequence`): a list, or a range with computed bounds. Pure."""

from __future__ import annotations

from functools import partial
from typing import Any

from agentctl.importers.argo import values
from agentctl.importers.expression import Expr, Literal, Op, value
from agentctl.importers.flow import translated
from agentctl.importers.source import Part


def items(part: Part) -> list[Any]:
    """Returns the items of a sequence with plain bounds."""
    start, count = part["start"].number(0), part["count"].number(-1)
    end = part["end"].number(start + count - 1)
    computed = [name for name in ("start", "count", "end") if "{{" in part[name].text()]
    if computed or not abs(end - start) < 10_000:
        part.remark("a sequence with such bounds is not carried over", "give the items a `range` or a list")
        return []
    step = 1 if end >= start else -1
    numbers = [] if count == 0 else list(range(int(start), int(end) + step, step))
    form = part["format"].text()
    try:
        return [form % number for number in numbers] if form else numbers
    except (TypeError, ValueError):
        part["format"].remark(f"the format {form!r} is not known here", "write the items yourself")
        return numbers


def computed(part: Part, resolve: values.Resolve) -> dict[str, Any] | None:
    """Returns the range of a sequence with bounds that are computed; None if its bounds are plain."""
    given = {name: part[name].text() for name in ("start", "count", "end")}
    if not any("{{" in text for text in given.values()) or part["format"]:
        return None
    read = {
        name: _whole_number(translated(part[name], partial(values.text, text, resolve), Literal(0)))
        for name, text in given.items()
        if text
    }
    start = read.get("start", Literal(0))
    stop = _plus(read["end"], Literal(1)) if "end" in read else _plus(start, read.get("count", Literal(0)))
    return {"start": value(start), "stop": value(stop)}


def _whole_number(expr: Expr) -> Expr:
    if not isinstance(expr, Literal):
        return Op("integer", (expr,))
    return Literal(int(float(expr.value))) if str(expr.value).lstrip("-").isdigit() else Literal(0)


def _plus(first: Expr, second: Expr) -> Expr:
    if isinstance(first, Literal) and isinstance(second, Literal):
        return Literal(first.value + second.value)
    return second if first == Literal(0) else Op("+", (first, second))
