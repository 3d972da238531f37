"""`agentctl workflow`: check and register definitions."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

from agentctl import session, values
from agentctl.display.output import Format, Output, emit, note, some
from agentctl.failures import CliError, problem_line
from agentctl.groups import RemoteGroup
from agentctl.options import argument, flag

if TYPE_CHECKING:
    from agentflow_common.definition.checks.tool_arguments import Signature
    from agentflow_sdk import Client, Problem, Validation

AllowUnknown = Annotated[
    bool, flag("Accept tools, functions and models that are not known yet, with a warning.", "--allow-unknown")
]
File = Annotated[str, argument("Definition in YAML or JSON; - reads stdin.")]


def read(path: str) -> str:
    """Returns the text of a definition file. Places in later error messages name the file."""
    text = values.read_text(path)
    session.state.source = "stdin" if path == "-" else path
    return text


def validate(
    client: Client,
    file: File,
    server: Annotated[bool, flag("Ask the server, which also knows the prompts and tools.", "--server")] = False,
    allow_unknown: AllowUnknown = False,
    output: Output = Format.TABLE,
) -> None:
    """Check a definition without a server; problems come with file and line.

    Only the built-in tools and functions are known here.
    """
    text = read(file)
    source = session.state.source
    found = client.workflows.validate(text, allow_unknown=allow_unknown) if server else _validate_here(text)
    if output is not Format.TABLE or found.valid:
        said = f"{source}: valid: {found.name}@{found.version}, {some(found.steps, 'step')}"
        emit(found.to_dict(), output, lambda: said)
    _warn(found.warnings, source)
    for hint in () if server else _not_built_in(text):
        note(hint)
    if not found.valid:
        for problem in found.problems:
            note(problem_line(problem, source))
        raise CliError(f"{source}: not valid, {some(len(found.problems), 'problem')}")


def schema() -> None:
    """Print the JSON Schema of workflow definitions. Editors use it for completion and checks."""
    from agentflow_common.definition import json_schema

    sys.stdout.write(json_schema.text(json_schema.workflow_schema()))


def register(client: Client, file: File, allow_unknown: AllowUnknown = False, output: Output = Format.TABLE) -> None:
    """Store a definition under its name and version. A registered version never changes."""
    result = client.workflows.register(read(file), allow_unknown=allow_unknown)
    _warn(result.warnings, session.state.source)
    what = "registered" if result.created else "was registered already; nothing changed"
    emit(result.to_dict(), output, lambda: f"{result.name}@{result.version} {what}  sha256 {result.digest}")


def _warn(warnings: Iterable[Problem], source: str) -> None:
    for problem in warnings:
        note(f"warning: {problem_line(problem, source)}")


def _validate_here(text: str) -> Validation:
    from agentflow_common.definition.checks import tool_arguments
    from agentflow_common.definition.edge_arguments import completed
    from agentflow_common.definition.parse import parse_dict
    from agentflow_common.definition.yaml_text import load
    from agentflow_common.errors import InvalidError
    from agentflow_sdk import Problem, Validation

    try:
        data, lines = load(text)
        definition = parse_dict(data, lines)
    except InvalidError as error:
        return Validation(False, tuple(Problem(p.place, p.message, p.fix) for p in error.problems))
    known = _built_in()
    definition = completed(definition, {place: signature.needs() for place, signature in known.items()})
    findings = tool_arguments.findings(definition, known)
    problems = [Problem(tool_arguments.place_of(path, lines), message, fix) for path, message, fix in findings]
    if problems:
        return Validation(False, tuple(problems))
    return Validation(True, (), definition.name, definition.version, len(definition.dag.nodes))


def problems_here(text: str) -> list[tuple[str, str]]:
    """Returns what is wrong with a definition, and how to fix it, as `validate` finds it without a server."""
    found = _validate_here(text).problems
    return [(f"{problem.place}: {problem.message}", problem.fix or "correct it") for problem in found]


def _not_built_in(text: str) -> Iterator[str]:
    """Yields a hint for each tool and function of a valid definition that only a worker may offer."""
    from agentflow_common import hints
    from agentflow_common.definition.checks.tool_arguments import CHECKED
    from agentflow_common.definition.nodes.calls import NAMED_BY
    from agentflow_common.definition.parse import parse_text
    from agentflow_common.errors import InvalidError

    known = _built_in()
    try:
        works = [work for _, work in parse_text(text).works() if work.type in CHECKED]
    except InvalidError:
        return
    used = {(work.type, getattr(work.config, NAMED_BY[work.type])) for work in works}
    for kind, name in sorted(used - known.keys()) if known else ():
        meant = hints.did_you_mean(name, [other for of, other in known if of == kind], cutoff=0.8)
        aside = f" ({meant})" if meant else ""
        yield f"{kind} {name!r} is not built in{aside}; --server asks if a worker offers it"


def _built_in() -> dict[tuple[str, str], Signature]:
    """Returns the signatures of the built-in tools and functions; none where no worker is installed."""
    from msgspec import convert

    from agentflow_common.definition.checks.tool_arguments import Signature

    try:
        from agentflow_worker.registry import built_in_registry
    except ImportError:
        return {}
    return {(offer["kind"], offer["name"]): convert(offer, Signature) for offer in built_in_registry().describe()}


def add_to(app: RemoteGroup) -> None:
    """Adds these commands to the group."""
    app.command()(validate)
    app.local_command()(schema)
    app.command()(register)
