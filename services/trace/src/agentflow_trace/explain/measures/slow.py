"""Where the time of a run went, and what of it was unusual. Pure."""

from __future__ import annotations

from typing import Final

from agentflow_common.rpc import TraceStep
from agentflow_common.rpc.traces.explain import TimeReport, TimeShare, Usual
from agentflow_common.runs.state import node_of
from agentflow_trace import machine
from agentflow_trace.explain import limits, time_use
from agentflow_trace.explain.measures.history import History, usual
from agentflow_trace.explain.run_log import Logs, RunLog
from agentflow_trace.explain.time_use import RETRY, Span
from agentflow_trace.explain.wording import took

NAMED_MAX: Final = 3  # parts that the text names


def report(logs: Logs, log: RunLog, history: History, now_ms: int) -> TimeReport:
    """Returns the parts of the critical path, the longest first. They add up to the whole exactly."""
    state = log.state
    assert state is not None  # noqa: S101 - `Logs.get` gives no log without a state
    begin, end = state.submitted_at, state.finished_at or max(now_ms, state.submitted_at)
    whole = max(0, end - begin)
    attempts: dict[str, list[TraceStep]] = {}
    for attempt in machine.fold(log.rows).steps():
        attempts.setdefault(node_of(attempt.step), []).append(attempt)
    parts = tuple(
        _part(span, ms, whole, history, attempts, own=span.log is log)
        for ms, span in time_use.shares(time_use.of_run(logs, log, begin, end))
    )
    found = usual(whole, history.duration_ms) if state.status == "completed" else Usual()
    return TimeReport(duration_ms=whole, text=_text(whole, found, parts), usual=found, parts=parts)


def _part(
    span: Span, ms: int, whole: int, history: History, attempts: dict[str, list[TraceStep]], own: bool
) -> TimeShare:
    node = node_of(span.step)
    found = _usual(span.kind, node, history, attempts.get(node, [])) if own else Usual()
    where = "" if own else f", in the run {span.log.run}"
    text = f"{limits.text_of(span, ms)}{where}"
    return TimeShare(kind=span.kind, step=node, ms=ms, share=ms / whole if whole else 0.0, text=text, usual=found)


def _usual(kind: str, node: str, history: History, mine: list[TraceStep]) -> Usual:
    if kind in {"work", RETRY}:
        return usual(max((one.duration_ms for one in mine), default=0.0), history.node(node).work_ms)
    if kind in {"worker", "lane"}:
        return usual(max((one.wait_ms for one in mine), default=0), history.node(node).wait_ms)
    return Usual()


def _text(whole: int, found: Usual, parts: tuple[TimeShare, ...]) -> str:
    sentences = [f"the run took {took(whole)}"]
    if found.samples and found.median:
        verdict = "unusually long" if found.unusual else "as usual"
        sentences[0] += f", {verdict}: the median of {found.samples} earlier runs is {took(found.median)}"
    if parts:
        named = "; ".join(f"{part.text} ({part.share:.0%})" for part in parts[:NAMED_MAX])
        sentences.append(named)
    odd = [part for part in parts if part.usual.unusual][:NAMED_MAX]
    sentences += [f"unusual: {part.step} ({part.kind}), {took(part.usual.median)} is the median" for part in odd]
    return ". ".join(sentences)
