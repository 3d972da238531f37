"""The page of a trace, with as much as one file and one answer can hold."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agentctl.display.output import note, some
from agentctl.display.traces import family
from agentctl.display.traces.page import page

if TYPE_CHECKING:
    from agentflow_sdk import Client


def trace_page(client: Client, run: str, *, events: bool, children: bool) -> str:
    """Returns the HTML file of a trace. events: with the bodies of the events, if the answer can hold them."""
    from agentflow_sdk import ResourceExhaustedError

    notes: list[str] = []
    try:
        trace = client.traces.get(run, bodies=events)
    except ResourceExhaustedError:
        trace = client.traces.get(run)
        notes.append("The bodies of the events are too large for this file: agentctl trace get RUN --events -o json")
    if trace.truncated:
        notes.append("Events or bodies are missing: the run has more than one trace can hold.")
    below, left_out = family.children_of(client, trace, bodies=False) if children else ({}, 0)
    if left_out:
        notes.append(f"{some(left_out, 'run')} of subworkflows left out.")
    if not children and any(step.child_run_id for step in trace.steps):
        notes.append("The steps of subworkflows are not in this file: add --children.")
    if not events:
        notes.append("The bodies of the events are not in this file: add --events.")
    return page(trace, below, tuple(notes))


def save(text: str, to: str) -> None:
    """Writes a page or a chart to a file, or to stdout without one."""
    if to:
        Path(to).expanduser().write_text(text, "utf-8")
        note(f"wrote {to}")
    else:
        sys.stdout.write(text)
