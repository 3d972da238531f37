"""A run as a watcher sees it: a pure fold of its events and tokens. Times are ms since the epoch."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

TAIL_CHARS_MAX: Final = 2_000  # of a model's answer while it is being written; the step's event has all of it

Body = Mapping[str, Any]


@dataclass
class StepView:
    """A step as a watcher sees it. The parts of a map or a loop count as one step."""

    name: str
    kind: str = ""
    status: str = "pending"
    attempt: int = 0
    began_ms: int = 0
    duration_ms: float = 0.0
    detail: str = ""  # one line about what the step is doing or did
    tail: str = ""  # the end of the answer that a model is writing
    cost_nano: int = 0
    width: int = 0  # the number of its parts
    children_done: int = 0
    answer: str = ""  # the command that answers the step while it waits for a person


@dataclass
class RunView:
    """A run as a watcher sees it. Feed it with `event` and `token`, in order."""

    run_id: str
    workflow: str = ""
    status: str = "pending"
    cost_nano: int = 0
    steps_done: int = 0
    steps_total: int = 0
    submitted_ms: int = 0
    ended_ms: int = 0
    error: str = ""
    answer: str = ""  # the command that lets it go on from a breakpoint
    continued_as: str = ""  # the run that goes on in its place
    redactions: dict[str, int] = field(default_factory=dict)
    steps: dict[str, StepView] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """True if the run has ended."""
        return bool(self.ended_ms)

    def event(self, event: Any) -> None:
        """Folds a RunEvent of the SDK."""
        body: Body = event.body
        self.status = event.status.value
        self.submitted_ms = self.submitted_ms or event.ts
        self.cost_nano = event.cost_nano_usd
        self.steps_done, self.steps_total = event.steps_done, event.steps_total
        self.continued_as = str(body.get("continued_as") or "")
        for category, number in (body.get("redactions") or {}).items():
            self.redactions[category] = self.redactions.get(category, 0) + int(number)
        if event.step:
            self._step(event, body)
        else:
            self._run(event, body)

    def token(self, token: Any) -> None:
        """Folds a Token of the SDK. Only the end of the answer is kept."""
        step = self._view(token.step)
        if step.status in {"pending", "scheduled"}:
            step.status = "running"
        if token.attempt >= step.attempt:
            step.tail = (step.tail + token.text)[-TAIL_CHARS_MAX:]

    def _run(self, event: Any, body: Body) -> None:
        if event.type == "run.submitted":
            self.workflow = str(body.get("workflow") or "")
            for node in ((body.get("definition") or {}).get("dag") or {}).get("nodes") or ():
                self._view(str(node.get("id"))).kind = str(node.get("type", ""))
        self.answer = answer(self.run_id, event)
        if event.status.is_final and not self.ended_ms:
            self.ended_ms = event.ts
            self.error = brief(describe_error(body.get("error") or {})) or str(body.get("reason") or "")

    def _step(self, event: Any, body: Body) -> None:
        step = self._view(event.step)
        if "[" in event.step:
            _part(step, event, body)
            return
        if event.type == "timer.set" and body.get("kind") != "retry":
            return
        step.attempt = max(step.attempt, event.attempt)
        step.status = _status(event.type, body) or step.status
        if event.type in {"step.expanded", "step.iterated", "step.waiting"}:
            step.began_ms = step.began_ms or event.ts
        if event.type == "step.waiting":
            step.kind = step.kind or str(body.get("kind") or "")
            step.answer = answer(self.run_id, event)
        elif event.type == "step.expanded":
            step.width = int(body.get("width") or 0)
        elif event.type in {"step.scheduled", "step.started"}:
            step.began_ms = event.ts
        elif event.type in {"step.joined", "step.resolved", "child.ended", "outcome.resolved"}:
            step.duration_ms = event.ts - step.began_ms if step.began_ms else 0
        elif event.type in {"step.completed", "step.failed"}:
            step.duration_ms = float(body.get("duration_ms") or 0.0)
        if event.type == "step.scheduled":
            step.kind = str(body.get("kind") or step.kind)
            step.duration_ms, step.tail = 0.0, ""
        if body.get("llm"):
            step.cost_nano += int(body["llm"].get("cost_nano") or 0)
        if begun := body.get("begun"):  # the worker goes on with this step by itself
            following = self._view(str(begun["step"]))
            following.kind = following.kind or str(begun["kind"])
            _begin(following, event.ts)
        detail = _detail(event.type, body)
        step.detail = step.detail if detail is None else detail

    def _view(self, name: str) -> StepView:
        whole = name.partition("[")[0]
        return self.steps.setdefault(whole, StepView(whole))


def _part(step: StepView, event: Any, body: Body) -> None:
    """Counts a part of a map or a loop. A part that is a map has parts, too."""
    step.children_done += event.type in {"step.completed", "step.skipped", "step.cancelled", "step.joined"}
    if event.type == "step.expanded":
        step.width += int(body.get("width") or 0)
    if event.type == "step.scheduled":
        _begin(step, event.ts)


def _begin(step: StepView, ts: int) -> None:
    step.status = "running"
    step.began_ms = step.began_ms or ts


@cache
def _moves() -> Mapping[str, tuple[str, ...]]:
    """Returns the statuses that each type of event leads a step to, from the platform's own table."""
    from agentflow_common.runs.transitions import STEP

    return {str(event.__struct_config__.tag): tuple(moved.after) for event, moved in STEP.items()}


def _status(event_type: str, body: Body) -> str:
    """Returns the status of a step after an event; empty if the event does not change it."""
    after = _moves().get(event_type, ())
    if len(after) < 2:
        return "".join(after)
    chosen = str(body.get("status") or body.get("outcome") or "completed")
    return next(
        (status for status in after if status.startswith(chosen)), "waiting" if chosen == "continued" else "failed"
    )


def _detail(event_type: str, body: Body) -> str | None:
    """Returns one line about a step after an event; None if the line stays."""
    if event_type in _DETAILS:
        return _DETAILS[event_type](body).strip()
    if body.get("error"):
        return brief(describe_error(body["error"]))
    return describe_usage(body["llm"]) if body.get("llm") else None


def _asked(body: Body) -> str:
    detail = body.get("detail")
    asked = detail if isinstance(detail, Mapping) else {}
    return str(asked.get("message") or asked.get("signal") or body.get("child") or "")


def _late(body: Body) -> str:
    what = "heartbeat" if body.get("bound") == "heartbeat" else "result"
    cause = f"; the last error was {brief(describe_error(body['cause']))}" if body.get("cause") else ""
    return f"no {what} in {body.get('timeout_ms')} ms{cause}"


_DETAILS: Final[Mapping[str, Callable[[Body], str]]] = {
    "step.scheduled": lambda body: str(body.get("prompt") or ""),
    "step.waiting": _asked,
    "step.queued": lambda body: f"waits for a slot of lane {body.get('lane')}",
    "step.progressed": lambda body: f"{float(body.get('progress') or 0):.0%} {body.get('detail') or ''}",
    "step.iterated": lambda body: f"iteration {body.get('iteration')}",
    "step.timed_out": _late,
    "step.skipped": lambda body: str(body.get("reason") or ""),
    "step.cancelled": lambda body: str(body.get("reason") or ""),
}


def answer(run_id: str, event: Any) -> str:
    """Returns the command that answers a step which waits, or a stop; empty if no person has to answer it."""
    if event.type == "run.stopped":
        return f"agentctl workflow continue {run_id}"
    if event.type != "step.waiting":
        return ""
    detail = event.body.get("detail")
    if event.body.get("kind") == "approval":
        return f"agentctl workflow approve {run_id} {shlex.quote(event.step)} --as PERSON"
    if event.body.get("kind") == "signal" and isinstance(detail, Mapping):
        return f"agentctl workflow signal {run_id} {shlex.quote(str(detail.get('signal', '')))}"
    return ""


def describe_usage(usage: Body) -> str:
    """Returns the route and the tokens of a model call in one line."""
    route = f"{usage.get('provider', '')}/{usage.get('model', '')}"
    tokens = f"{int(usage.get('input_tokens') or 0):,} + {int(usage.get('output_tokens') or 0):,} tokens"
    finish = str(usage.get("finish_reason") or "stop")
    odd = f" · {finish}" if finish != "stop" else ""
    return f"{route} · {tokens}{odd}" + (" · from cache" if usage.get("cache_hit") else "")


def describe_error(error: Body) -> str:
    """Returns an error in one line."""
    return ": ".join(str(part) for part in (error.get("type"), error.get("message")) if part)


def brief(error: str) -> str:
    """Returns the type of an error and the beginning of its message, for places beside the one that shows it in full.

    Details and the fix follow a colon in a message, behind at least four words: what has fewer says only where. A colon
    in parentheses belongs to them.
    """
    kind, colon, message = error.partition(": ")
    parts = message.split(": ")
    begins = (": ".join(parts[:end]) for end in range(1, len(parts)))
    enough = (text for text in begins if len(text.split()) > 3 and text.count("(") <= text.count(")"))
    return f"{kind}{colon}{next(enough, message)}"


def _few(names: Any) -> str:
    listed = [str(name) for name in names or ()]
    return ", ".join(listed[:6]) + (f" and {len(listed) - 6} more" if len(listed) > 6 else "")


_FACTS: Final[dict[str, Callable[[Body], Iterable[str]]]] = {
    "timer.set": lambda body: [str(body.get("kind", ""))],
    "signal.received": lambda body: [str(body.get("name", ""))],
    "approval.given": lambda body: [f"{body.get('by', '')}: {body.get('decision', '')}"],
    "step.waiting": lambda body: [
        f"for {body.get('kind', '')}", str((body.get("detail") or {}).get("signal") or body.get("child") or "")
    ],
    "step.iterated": lambda body: [f"iteration {float(body.get('iteration', 0)):.0f}"],
    "steps.reset": lambda body: [f"{body.get('edge', '')} taken", f"iteration {float(body.get('iteration', 0)):.0f}"],
    "graph.advanced": lambda body: [f"superstep {float(body.get('superstep', 0)):.0f}", _few(body.get("steps"))],
    "run.stopped": lambda body: [f"before {_few(body.get('steps'))}"],
    "run.waiting": lambda body: [_few(body.get("steps"))],
    "run.queued": lambda body: [f"for a slot of {body.get('lane', '')}"],
    "run.locking": lambda body: [f"for {body['lane']}" if body.get("lane") else ""],
    "run.unlocked": lambda body: [str(body.get("lane", ""))],
    "run.finishing": lambda body: [f"ends as {body.get('status', '')} after its last nodes"],
    "run.completed": lambda body: [f"goes on as {body['continued_as']}" if body.get("continued_as") else ""],
}  # fmt: skip


def line(event: Any, began_ms: int) -> str:
    """Returns an event as one plain line: `   1.204s  step.completed   analyze  812 ms  local/extract`."""
    body: Body = event.body
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
        facts.append(brief(describe_error(body["error"])))
    if more := _FACTS.get(event.type):
        facts.extend(fact for fact in more(body) if fact)
    facts.extend(str(body[key]) for key in ("reason", "width") if body.get(key))
    if body.get("begun"):
        facts.append(f"goes on with {body['begun']['step']}")
    undone = {
        "steps": "undoes" if event.type == "run.compensating" else "",
        "compensated": "undone:",
        "children": "waits until the subworkflows have undone:",
        "uncompensated": "not undone:",
    }
    facts.extend(f"{word} {', '.join(body[key])}" for key, word in undone.items() if word and body.get(key))
    seconds = max(0, event.ts - began_ms) / 1000
    return f"{seconds:9.3f}s  {event.type:<20} {event.step:<20} {'  '.join(facts)}".rstrip()
