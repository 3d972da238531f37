"""A run as a watcher sees it: a pure fold of its events and tokens. Times are ms since the epoch."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

TAIL_CHARS_MAX: Final = 2_000  # of a model's answer while it is being written; the step's event holds all of it
ENDED: Final = frozenset({"completed", "failed", "cancelled"})
_RUN_STATUS: Final = {
    "run.submitted": "pending",
    "run.started": "running",
    "run.waiting": "waiting",
    "run.paused": "paused",
    "run.resumed": "running",
    "run.cancelling": "running",
    "run.compensating": "running",
    "run.completed": "completed",
    "run.failed": "failed",
    "run.cancelled": "cancelled",
}
_STEP_STATUS: Final = {
    "step.scheduled": "scheduled",
    "step.started": "running",
    "step.completed": "completed",
    "step.failed": "failed",
    "step.timed_out": "failed",
    "step.undecidable": "failed",
    "step.skipped": "skipped",
    "step.cancelled": "cancelled",
    "step.outcome_unknown": "outcome_unknown",
}
_WAITS: Final = {
    "step.queued": "queued",
    "step.waiting": "waiting",
    "step.progressed": "running",
    "step.iterated": "running",
    "step.resolved": "completed",
    "child.ended": "waiting",
    "outcome.resolved": "running",
}


@dataclass
class StepView:
    """detail: one line about what the step is doing or did. tail: the end of the answer being written. answer: the
    command that a person answers a waiting step with."""

    name: str
    kind: str = ""
    status: str = "pending"
    attempt: int = 0
    began_ms: int = 0
    duration_ms: float = 0.0
    detail: str = ""
    tail: str = ""
    cost_nano: int = 0
    width: int = 0
    children_done: int = 0
    answer: str = ""


@dataclass
class RunView:
    """Feed it with `event` and `token`, in order."""

    run_id: str
    workflow: str = ""
    status: str = "pending"
    cost_nano: int = 0
    steps_done: int = 0
    steps_total: int = 0
    submitted_ms: int = 0
    ended_ms: int = 0
    error: str = ""
    redactions: dict[str, int] = field(default_factory=dict)
    steps: dict[str, StepView] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def event(self, event: Any) -> None:
        """Folds a RunEvent of the SDK."""
        body: Mapping[str, Any] = event.body
        self.submitted_ms = self.submitted_ms or event.ts
        self.cost_nano = event.cost_nano_usd
        self.steps_done, self.steps_total = event.steps_done, event.steps_total
        for entity, number in (body.get("redactions") or {}).items():
            self.redactions[entity] = self.redactions.get(entity, 0) + int(number)
        if event.type in _RUN_STATUS:
            self._run(event.type, event.ts, body)
        elif event.step:
            self._step(event, body)

    def token(self, token: Any) -> None:
        """Folds a Token of the SDK. Only the end is kept."""
        step = self._view(token.step)
        if step.status in {"pending", "scheduled"}:
            step.status = "running"
        if token.attempt >= step.attempt:
            step.tail = (step.tail + token.text)[-TAIL_CHARS_MAX:]

    def _run(self, kind: str, ts: int, body: Mapping[str, Any]) -> None:
        self.status = _RUN_STATUS[kind]
        self.workflow = str(body.get("workflow") or self.workflow)
        if kind == "run.submitted":
            for node in ((body.get("definition") or {}).get("dag") or {}).get("nodes") or ():
                self._view(str(node.get("id"))).kind = str(node.get("type", ""))
        if self.ended:
            self.ended_ms = ts
            error = body.get("error") or {}
            self.error = str(error.get("message") or body.get("reason") or "")

    def _step(self, event: Any, body: Mapping[str, Any]) -> None:
        parent, bracket, _ = event.step.partition("[")
        if bracket:
            if event.type in {"step.completed", "step.skipped", "step.cancelled"}:
                self._view(parent).children_done += 1
            if event.type == "step.scheduled":
                self._started(self._view(parent), event.ts)
            return
        step = self._view(event.step)
        step.attempt = max(step.attempt, event.attempt)
        if event.type == "step.expanded":
            step.width = int(body.get("width") or 0)
            self._started(step, event.ts)
        elif event.type == "step.joined":
            step.status = str(body.get("status") or "completed")
            step.duration_ms = event.ts - step.began_ms if step.began_ms else 0
        elif event.type == "timer.set":
            if body.get("kind") == "retry":
                step.status = "retrying"
        elif event.type in _WAITS:
            self._waits(step, event, body)
        elif event.type in _STEP_STATUS:
            self._attempt(step, event, body)

    def _started(self, step: StepView, ts: int) -> None:
        step.status = "running"
        step.began_ms = step.began_ms or ts

    def _waits(self, step: StepView, event: Any, body: Mapping[str, Any]) -> None:
        """A step that the engine itself runs, or that is held back."""
        detail = body.get("detail")
        if event.type == "step.waiting":
            self._started(step, event.ts)
            step.kind = step.kind or str(body.get("kind") or "")
            asked = detail if isinstance(detail, Mapping) else {}
            step.detail = str(asked.get("message") or asked.get("signal") or body.get("child") or "")
            step.answer = answer(self.run_id, event)
        elif event.type == "step.queued":
            step.detail = f"waits for a slot of lane {body.get('lane')}"
        elif event.type == "step.progressed":
            step.detail = f"{float(body.get('progress') or 0):.0%} {detail or ''}".strip()
        elif event.type == "step.iterated":
            self._started(step, event.ts)
            step.detail = f"iteration {body.get('iteration')}"
        else:
            step.duration_ms = event.ts - step.began_ms if step.began_ms else 0
            error = body.get("error")
            if error:
                step.detail = describe_error(error)
        status = body.get("status")
        ended = event.type in {"step.resolved", "child.ended"}
        step.status = str(status) if ended and status != "continued" else _WAITS[event.type]

    def _attempt(self, step: StepView, event: Any, body: Mapping[str, Any]) -> None:
        step.status = _STEP_STATUS[event.type]
        if event.type == "step.scheduled":
            step.kind = str(body.get("kind") or step.kind)
            step.began_ms, step.duration_ms, step.tail = event.ts, 0.0, ""
            step.detail = str(body.get("prompt") or "")
            return
        usage = body.get("llm") or {}
        if usage:
            step.cost_nano += int(usage.get("cost_nano") or 0)
            step.detail = describe_usage(usage)
        if event.type == "step.started":
            step.began_ms = event.ts
        elif event.type in {"step.completed", "step.failed"}:
            step.duration_ms = float(body.get("duration_ms") or 0.0)
            begun = body.get("begun")
            if begun:  # its worker goes on with the next step by itself
                following = self._view(str(begun["step"]))
                following.kind = following.kind or str(begun["kind"])
                self._started(following, event.ts)
        if event.type in {"step.failed", "step.undecidable"}:
            step.detail = describe_error(body.get("error") or {})
        elif event.type == "step.timed_out":
            what = "heartbeat" if body.get("bound") == "heartbeat" else "result"
            cause = f"; the last error was {describe_error(body['cause'])}" if body.get("cause") else ""
            step.detail = f"no {what} in {body.get('timeout_ms')} ms{cause}"
        elif event.type in {"step.skipped", "step.cancelled"}:
            step.detail = str(body.get("reason") or "")

    def _view(self, name: str) -> StepView:
        return self.steps.setdefault(name.partition("[")[0], StepView(name.partition("[")[0]))


def answer(run_id: str, event: Any) -> str:
    """Returns the command that answers what a step has begun to wait for; empty for what comes by itself."""
    if event.type != "step.waiting":
        return ""
    detail = event.body.get("detail")
    if event.body.get("kind") == "approval":
        return f"agentctl workflow approve {run_id} {shlex.quote(event.step)} --as PERSON"
    if event.body.get("kind") == "signal" and isinstance(detail, Mapping):
        return f"agentctl workflow signal {run_id} {shlex.quote(str(detail.get('signal', '')))}"
    return ""


def describe_usage(usage: Mapping[str, Any]) -> str:
    route = f"{usage.get('provider', '')}/{usage.get('model', '')}"
    tokens = f"{int(usage.get('input_tokens') or 0):,} + {int(usage.get('output_tokens') or 0):,} tokens"
    finish = str(usage.get("finish_reason") or "stop")
    odd = f" · {finish}" if finish != "stop" else ""
    return f"{route} · {tokens}{odd}" + (" · from cache" if usage.get("cache_hit") else "")


def describe_error(error: Mapping[str, Any]) -> str:
    return ": ".join(str(part) for part in (error.get("type"), error.get("message")) if part)


def _few(names: Any) -> str:
    listed = [str(name) for name in names or ()]
    return ", ".join(listed[:6]) + (f" and {len(listed) - 6} more" if len(listed) > 6 else "")


_TOLD: Final[dict[str, Callable[[Mapping[str, Any]], Iterable[str]]]] = {
    "timer.set": lambda body: [str(body.get("kind", ""))],
    "signal.received": lambda body: [str(body.get("name", ""))],
    "approval.given": lambda body: [f"{body.get('by', '')}: {body.get('decision', '')}"],
    "step.waiting": lambda body: [
        f"for {body.get('kind', '')}", str((body.get("detail") or {}).get("signal") or body.get("child") or "")
    ],
    "step.iterated": lambda body: [f"iteration {float(body.get('iteration', 0)):.0f}"],
    "steps.reset": lambda body: [f"{body.get('edge', '')} taken", f"iteration {float(body.get('iteration', 0)):.0f}"],
    "graph.advanced": lambda body: [f"superstep {float(body.get('superstep', 0)):.0f}", _few(body.get("steps"))],
    "run.waiting": lambda body: [_few(body.get("steps"))],
    "run.completed": lambda body: [f"goes on as {body['continued_as']}" if body.get("continued_as") else ""],
}  # fmt: skip


def line(event: Any, began_ms: int) -> str:
    """An event as one plain line for logs and pipes: `   1.204s  step.completed   analyze  812 ms  local/extract`."""
    body: Mapping[str, Any] = event.body
    facts = []
    if event.type == "run.submitted":
        facts.append(f"{body.get('workflow', '')}@{body.get('version', '')}")
    if event.attempt > 1:
        facts.append(f"attempt {event.attempt}")
    if body.get("duration_ms"):
        facts.append(f"{float(body['duration_ms']):.0f} ms")
    if body.get("llm"):
        facts.append(describe_usage(body["llm"]))
    if body.get("error"):
        facts.append(describe_error(body["error"]))
    if told := _TOLD.get(event.type):
        facts.extend(fact for fact in told(body) if fact)
    facts.extend(str(body[key]) for key in ("reason", "width") if body.get(key))
    if body.get("begun"):
        facts.append(f"goes on with {body['begun']['step']}")
    undone = {"steps": "undoes" if event.type == "run.compensating" else "", "compensated": "undone:",
              "children": "waits until the subworkflows have undone:", "uncompensated": "not undone:"}  # fmt: skip
    facts.extend(f"{word} {', '.join(body[key])}" for key, word in undone.items() if word and body.get(key))
    seconds = max(0, event.ts - began_ms) / 1000
    return f"{seconds:9.3f}s  {event.type:<20} {event.step:<20} {'  '.join(facts)}".rstrip()
