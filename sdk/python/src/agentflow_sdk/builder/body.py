"""What a map or a loop does each time, and what compensates a step: a call by name, as plain data.

>>> flow.map("each", body.llm("summarizer@1", content="{{item}}"), over="split.output.chunks")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]


def tool(tool_name: str, /, **args: Any) -> Body:
    return {"type": "tool", "config": {"tool_name": tool_name, "tool_args": args}}


def function(function_name: str, /, **args: Any) -> Body:
    return {"type": "function", "config": {"function_name": function_name, "function_args": args}}


def llm(prompt_ref: str, /, *, output: str | None = None, **inputs: Any) -> Body:
    """output: `text` (default) or `json`."""
    config: dict[str, Any] = {"prompt_ref": prompt_ref, "inputs": inputs}
    if output is not None:
        config["output"] = output
    return {"type": "llm", "config": config}


def subworkflow(workflow: str, /, **inputs: Any) -> Body:
    """A run of its own: `name`, `name@3` or `name@label`."""
    return {"type": "subworkflow", "config": {"workflow": workflow, "inputs": inputs}}
