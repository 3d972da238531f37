"""A trace as one HTML file: the data, and the program and the styles that show it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from agentctl.display.traces.family import families, walk

if TYPE_CHECKING:
    from agentflow_sdk import Trace, TraceStep

_STEP_FIELDS: Final = (
    "attempt", "status", "queued_at", "scheduled_at", "started_at", "finished_at", "wait_ms", "duration_ms",
    "cost_nano_usd", "provider", "model", "prompt", "input_tokens", "output_tokens", "cache_hit", "worker", "error",
    "redactions", "finish_reason", "reason", "kind", "child_run_id", "calls",
)  # fmt: skip


def page(trace: Trace, children: Mapping[str, Trace] | None = None, notes: tuple[str, ...] = ()) -> str:
    """Returns the file. It loads nothing, and nothing that a run put into the trace can become a part of the page.

    notes: sentences about what the file does not show.
    """
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    )
    parts = {"policy": policy, "style": style, "script": script, "data": _data(trace, children or {}, notes)}
    text = _asset("page.html")
    for name, part in parts.items():
        text = text.replace(f"@@{name}@@", part, 1)  # the data come last: nothing is replaced in them
    return text


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _data(trace: Trace, children: Mapping[str, Trace], notes: tuple[str, ...]) -> str:
    """Returns the data as JSON that no parser of HTML can mistake for markup."""
    runs = [trace, *children.values()]
    data = {
        "run": _head(trace),
        "notes": notes,
        "nodes": {node.id: list(node.waits_for) for node in trace.nodes},
        "steps": [
            {
                "run": member.run_id, "step": member.key, "depth": depth, "critical_ms": member.critical_ms,
                "cost_nano": member.cost_nano, "tokens": member.tokens,
                "attempts": [_attempt(attempt) for attempt in member.attempts],
            }
            for depth, member in walk(families(trace, children))
        ],
        "path": [_lean(part.to_dict()) for part in trace.critical_path],
        "events": [
            {"run": run.run_id, **_lean(event.to_dict())} for run in runs for event in run.events
        ],
    }  # fmt: skip
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _head(trace: Trace) -> dict[str, Any]:
    data = trace.to_dict()
    return {name: value for name, value in data.items() if name not in ("steps", "events", "nodes", "critical_path")}


def _attempt(attempt: TraceStep) -> dict[str, Any]:
    data = attempt.to_dict()
    return _lean({name: data[name] for name in _STEP_FIELDS if name in data})


def _lean(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value not in ("", 0, None, False, {}, [], ())}
