"""The table of the builder's calls, made from its docstrings."""

from __future__ import annotations

import inspect

from agentflow_sdk import Workflow

KINDS = ("adds a node", "of a node", "of the workflow")
_OF_THE_WORKFLOW = {
    "deadline", "description", "edge", "finally_limit", "graph", "input", "lock", "output", "problems", "run_lane",
    "to_dict", "to_yaml", "validate", "version",
}  # fmt: skip


def calls() -> str:
    """Returns a table of all calls: those that add a node, those that set something of one, and the others."""
    assert set(dir(Workflow)) >= _OF_THE_WORKFLOW
    rows = sorted((KINDS.index(_kind(name)), name) for name in dir(Workflow) if not name.startswith("_"))
    lines = [f"| `{name}` | {KINDS[kind]} | {_first(name)} |" for kind, name in rows]
    return "\n".join(["| Call | Kind | What it does |", "| --- | --- | --- |", *lines])


def _kind(name: str) -> str:
    if name in _OF_THE_WORKFLOW:
        return KINDS[2]
    return KINDS[0] if _first(name).startswith("Adds a node") else KINDS[1]


def _first(name: str) -> str:
    """Returns the first paragraph of a call's docstring."""
    doc = inspect.getdoc(getattr(Workflow, name)) or ""
    return " ".join(doc.partition("\n\n")[0].split()).replace("|", "\\|")
