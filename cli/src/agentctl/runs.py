"""Finds the run that a person names: by its id, by the beginning of it, or as `last`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

from agentctl.display.output import note, when
from agentctl.failures import CliError
from agentctl.options import argument

if TYPE_CHECKING:
    from agentflow_sdk import Client, RunSummary

LAST: Final = ("last", "@last")
_LOOKED_AT_MAX: Final = 50
_SHOWN_MAX: Final = 5
_WHOLE: Final = re.compile(r"run_[0-9a-z]{26}\Z")
_TOO_SHORT: Final = re.compile(r"run_[0-9a-z]{0,3}\Z")
_BEGINNING: Final = re.compile(r"(run_)?[0-9a-z]{4,26}\Z")

RunId = Annotated[str, argument("Id of the run, the beginning of one, or `last`.", "RUN")]


def is_run(text: str) -> bool:
    """True if the text names a run and not a workflow."""
    return text in LAST or text.startswith("run_")


def find(client: Client, text: str) -> str:
    """Returns the id of the run that a text means. Raises CliError if it means no run, or more than one.

    A text that can't be the beginning of an id is returned unchanged: the server says what is wrong with it.
    """
    if text in LAST:
        return _named(_last(client))
    if _TOO_SHORT.match(text):
        raise CliError(
            f"{text}: too short for the beginning of a run's id", fix="write at least 4 characters after run_"
        )
    if _WHOLE.match(text) or not _BEGINNING.match(text):
        return text
    prefix = text if text.startswith("run_") else f"run_{text}"
    found = list(client.workflows.list(run_id_prefix=prefix, limit=_SHOWN_MAX + 1))
    if not found:
        raise CliError(f"no run's id begins with {prefix}", fix="see `agentctl workflow list`")
    if len(found) > 1:
        shown = ", ".join(run.run_id for run in found[:_SHOWN_MAX])
        more = ", ..." if len(found) > _SHOWN_MAX else ""
        raise CliError(f"several runs' ids begin with {prefix}", fix=f"write more of it: {shown}{more}")
    return _named(found[0])


def _last(client: Client) -> RunSummary:
    """Returns the newest run that a person, a program or a schedule started, so no run of a subworkflow."""
    for run in client.workflows.list(limit=_LOOKED_AT_MAX):
        derived = run.run_id.startswith("run_d")
        if not derived or not client.workflows.get(run.run_id).parent_run_id:
            return run
    raise CliError("there is no run yet", fix="start one: agentctl workflow submit FILE")


def _named(run: RunSummary) -> str:
    note(f"{run.run_id} ({run.workflow}@{run.version}, submitted {when(run.submitted_at)})")
    return run.run_id
