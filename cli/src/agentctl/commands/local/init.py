"""`agentctl init`: a small project that runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

from agentctl.display.output import note
from agentctl.failures import CliError
from agentctl.options import argument

TEMPLATE: Final = Path(__file__).resolve().parents[2] / "project"
FILES: Final = ("README.md", "workflow.yaml", "tools.py", "notes/first.md")
SCHEMA: Final = "workflow.schema.json"  # for editors; the first line of workflow.yaml names it
MARK: Final = "PROJECT"


def init(
    folder: Annotated[Path, argument("A new or an empty folder.", "DIR")],
) -> None:
    """Make a small project: a workflow, functions of its own, a README. It runs as it stands."""
    from agentflow_common.definition import json_schema

    folder = folder.expanduser()
    if folder.is_file():
        raise CliError(f"{folder}: is a file", fix="name a folder")
    there = [name for name in (*FILES, SCHEMA) if (folder / name).exists()]
    if there:
        raise CliError(f"{folder} has {', '.join(there)} already", fix="name a new folder: no file is overwritten")
    name = project_name(folder)
    for file in FILES:
        text = (TEMPLATE / file).read_text("utf-8").replace(MARK, name)
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    (folder / SCHEMA).write_text(json_schema.text(json_schema.workflow_schema()), "utf-8")
    note(f"{folder} holds a project:")
    for file in (*FILES, SCHEMA):
        note(f"  {file}")
    note("\nrun it:")
    if folder.resolve() != Path.cwd():
        note(f"  cd {folder}")
    note("  agentctl up --detach --load tools.py")
    note("  agentctl workflow run workflow.yaml -i name=Ada")


def project_name(folder: Path) -> str:
    """Returns the folder's name as a workflow's name: letters, digits and `_`, no digit first."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", folder.resolve().name).strip("_").lower()[:40]
    return name if name and not name[0].isdigit() else f"project_{name}".rstrip("_")
