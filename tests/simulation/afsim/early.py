"""What must hold once a run has come to one of its `end` nodes. See rules.py, which calls these."""

from __future__ import annotations

from typing import Any

from agentflow_common import events as ev
from agentflow_common.runs.state import RunState, ended_by, node_of


def end_of(rules: Any, state: RunState) -> str:
    """Returns the `end` step that has completed."""
    return ended_by(state, [name for name, node in rules.nodes.items() if node.type == "end"])


def check_begins(rules: Any, state: RunState, key: str) -> None:
    """Nothing begins, whatever crashes and comes late."""
    if end := end_of(rules, state):
        rules.fail(f"{key} began after {end}, which ends the run")


def check_completed(rules: Any, state: RunState, event: ev.RunCompleted, end: str) -> None:
    """The run completed as its `end` node says, with the output that stands there."""
    config = rules.nodes[node_of(end)].config
    if config.status != "completed":
        rules.fail(f"the run completed at {end}, where it is to be {config.status}")
    elif config.output is not None and rules.look(event.output) != config.output:
        rules.fail(f"the run completed at {end} with another output: {rules.look(event.output)}")
