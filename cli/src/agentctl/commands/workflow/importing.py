"""`agentctl workflow import`: read the definition of another engine, write ours, and say what is not carried over."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentctl import session
from agentctl.commands.workflow import define
from agentctl.display.output import Format, Output, emit, note, some
from agentctl.failures import CliError, problem_line
from agentctl.groups import RemoteGroup
from agentctl.options import argument, flag, option

if TYPE_CHECKING:
    from agentctl.importers.convert import Imported


class Engine(StrEnum):
    """The engines whose definitions can be read."""

    ARGO = "argo"
    CONDUCTOR = "conductor"
    N8N = "n8n"
    SERVERLESS_WORKFLOW = "serverless-workflow"
    STEP_FUNCTIONS = "step-functions"


def import_(
    file: Annotated[str, argument("The other engine's definition in YAML or JSON; - reads stdin.")],
    engine: Annotated[Engine, typer.Option("--from", help="The engine that it was written for.", show_default=False)],
    to: Annotated[
        Path | None, option("Write the definition to this file, and its subworkflows beside it.", metavar="FILE")
    ] = None,
    force: Annotated[bool, flag("Replace existing files.", "--force")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Write the definition of another engine as ours, and say line by line what is not carried over.

    The definition goes to stdout, or to the file of --to. What is not carried over goes to stderr.
    """
    from agentctl.importers.convert import convert

    text = define.read(file)
    source = session.state.source
    made = convert(text, engine.value, source, define.problems_here)
    if to is not None:
        written = _write(made, to, force=force)
        emit(_plain(made), output, lambda: "\n".join(f"{path}: written" for path in written))
    else:
        emit(_plain(made), output, lambda: _print(made))
    if output is Format.TABLE:
        for remark in made.remarks:
            note(problem_line(remark.problem(), source))
        note(f"{source}: {some(len(made.definitions), 'definition')}, {some(len(made.remarks), 'remark')}")
    if made.invalid:
        names = ", ".join(made.invalid)
        raise CliError(f"not valid yet: {names}", fix="correct what the remarks name, then: agentctl workflow validate")


def _plain(made: Imported) -> dict[str, object]:
    remarks = [
        {"line": remark.line, "place": remark.place, "message": remark.message, "fix": remark.fix}
        for remark in made.remarks
    ]
    definitions = [{"name": written.name, "text": written.text} for written in made.definitions]
    return {"definitions": definitions, "remarks": remarks, "invalid": list(made.invalid)}


def _print(made: Imported) -> None:
    sys.stdout.write("---\n".join(written.text for written in made.definitions))
    if len(made.definitions) > 1:
        note("each part between `---` is a definition of its own: --to FILE writes them to files")


def _write(made: Imported, to: Path, *, force: bool) -> list[Path]:
    """Writes each definition to its file, and returns the files. Writes nothing if one is there already."""
    first, *others = made.definitions
    files = {to: first.text}
    for written in others:
        path = to.with_name(f"{written.name}.yaml")
        if path in files:
            raise CliError(f"{path}: two definitions would be written to this file", fix="choose another name for --to")
        files[path] = written.text
    for path in files:
        if path.exists() and not force:
            raise CliError(f"{path}: exists already", fix="choose another name, or say --force")
    for path, text in files.items():
        path.write_text(text)
    return list(files)


def add_to(app: RemoteGroup) -> None:
    """Adds the command to the group."""
    app.local_command("import")(import_)
