"""`agentctl workflow`: definitions and runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentctl import following, runs, session, values
from agentctl.commands.workflow import control as workflow_control
from agentctl.commands.workflow import derive as workflow_derive
from agentctl.commands.workflow import versions as workflow_versions
from agentctl.display import paging
from agentctl.display.output import Format, Output, emit, note, some
from agentctl.failures import FAILED, CliError, problem_line
from agentctl.runs import RunId
from agentctl.session import open_client, remote

if TYPE_CHECKING:
    from agentflow_common.definition.checks.tool_arguments import Signature

app = typer.Typer(no_args_is_help=True, help="Validate, register, submit and follow workflows.")

File = Annotated[str, typer.Argument(help="Definition in YAML or JSON; - reads stdin.", show_default=False)]


def _definition(path: str) -> str:
    """The text of a definition file; places in later error messages name it."""
    text = values.read_text(path)
    session.state.source = "stdin" if path == "-" else path
    return text


@app.command()
@remote
def validate(
    file: File,
    server: Annotated[
        bool, typer.Option("--server", help="Ask the server, which also knows the prompts and tools.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Check a definition without a server; problems come with file and line. Of tools and functions, the built-in ones
    are known."""
    text = _definition(file)
    source = session.state.source
    if server:
        with open_client() as client:
            data = client.workflows.validate(text).to_dict()
    else:
        data = _validate_here(text)

    def render() -> Any:
        if data["valid"]:
            return f"{source}: valid: {data['name']}@{data['version']}, {some(data['steps'], 'step')}"
        return None

    if output is not Format.TABLE or data["valid"]:
        emit(data, output, render)
    for told in () if server else _not_built_in(text):
        note(told)
    if not data["valid"]:
        from types import SimpleNamespace

        for problem in data["problems"]:
            note(problem_line(SimpleNamespace(**problem), source))
        raise CliError(f"{source}: not valid, {some(len(data['problems']), 'problem')}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of workflow definitions. Editors use it for completion and checks."""
    from agentflow_common.definition import json_schema

    sys.stdout.write(json_schema.text(json_schema.workflow_schema()))


def _validate_here(text: str) -> dict[str, Any]:
    from agentflow_common.definition.checks import tool_arguments
    from agentflow_common.definition.parse import parse_dict
    from agentflow_common.definition.yaml_text import load
    from agentflow_common.errors import InvalidError, Problem

    try:
        data, lines = load(text)
        definition = parse_dict(data, lines)
        found = [
            Problem(tool_arguments.place_of(path, lines), message, fix)
            for path, message, fix in tool_arguments.findings(definition, _built_in())
        ]
        if found:
            raise InvalidError("the arguments don't fit", problems=tuple(found))
    except InvalidError as error:
        problems = [{"place": p.place, "message": p.message, "fix": p.fix} for p in error.problems]
        return {"valid": False, "problems": problems, "name": "", "version": 0, "steps": 0}
    steps = len(definition.dag.nodes)
    return {"valid": True, "problems": [], "name": definition.name, "version": definition.version, "steps": steps}


def _not_built_in(text: str) -> Iterator[str]:
    """Says which tools and functions of a valid definition are not checked here: perhaps a worker offers them."""
    import difflib

    from agentflow_common.definition.checks.tool_arguments import NAMED_BY
    from agentflow_common.definition.parse import parse_text
    from agentflow_common.errors import InvalidError

    known = _built_in()
    try:
        used = {
            (w.type, getattr(w.config, NAMED_BY[w.type])) for _, w in parse_text(text).works() if w.type in NAMED_BY
        }
    except InvalidError:
        return
    for kind, name in sorted(used - known.keys()) if known else ():
        near = difflib.get_close_matches(name, [other for of, other in known if of == kind], 1, 0.8)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        yield f"{kind} {name!r} is not built in{meant}; --server asks whether a worker offers it"


def _built_in() -> dict[tuple[str, str], Signature]:
    """What the tools and functions that come with a worker take; nothing where no worker is installed."""
    from agentflow_common.definition.checks.tool_arguments import Signature

    try:
        from agentflow_worker.registry import built_in_registry
    except ImportError:
        return {}
    offers = built_in_registry().describe()
    return {(o["kind"], o["name"]): Signature(o["schema"], tuple(o["unchecked"])) for o in offers}


@app.command()
@remote
def register(file: File, output: Output = Format.TABLE) -> None:
    """Store a definition under its name and version, for good."""
    text = _definition(file)
    with open_client() as client:
        result = client.workflows.register(text)
    what = "registered" if result.created else "was registered already, nothing changed"
    emit(result.to_dict(), output, lambda: f"{result.name}@{result.version} {what}  sha256 {result.digest}")


def submit(
    workflow: Annotated[
        str, typer.Argument(help="A definition file, a registered NAME, NAME@VERSION or NAME@LABEL, or - for stdin.")
    ],
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="KEY=VALUE", help="An input; numbers and JSON are read as such; @file for text."
        ),
    ] = None,
    inputs_json: Annotated[str, typer.Option(help="All inputs as a JSON object, or @file.", show_default=False)] = "",
    budget_cents: Annotated[
        int | None,
        typer.Option(
            help="At most this many cents for the run's model calls.", show_default=False, min=1, max=100_000_000
        ),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag to find the run by.")] = None,
    idempotency_key: Annotated[
        str, typer.Option(help="The same key is the same run, however often it is sent.", show_default=False)
    ] = "",
    priority: Annotated[int, typer.Option(help="-100 to 100.", min=-100, max=100)] = 0,
    deadline: Annotated[
        float | None,
        typer.Option(help="Seconds for the whole run, from now.", show_default=False, min=0.001, max=366 * 86_400),
    ] = None,
    unregistered: Annotated[
        bool,
        typer.Option("--unregistered", help="Accept a file whose name and version are registered with other content."),
    ] = False,
    watch_: Annotated[bool, typer.Option("--watch", "-w", help="Show progress until the run ends.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait silently until the run ends.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Start a run. With --watch or --wait the exit code is 0 only if it completed."""
    source = _definition(workflow) if _is_file(workflow) else workflow
    strings = values.text_inputs(source) if _is_file(workflow) and input_ else ()
    inputs = values.parse_inputs(input_ or (), inputs_json, strings)
    if _is_file(workflow) and "\n" not in source:
        source += "\n"  # how the SDK tells a text from a name
    with open_client() as client:
        submission = client.workflows.submit(
            source,
            inputs,
            budget_cents=budget_cents,
            tags=values.parse_tags(tag or ()),
            idempotency_key=idempotency_key,
            priority=priority,
            deadline_s=deadline,
            unregistered=unregistered,
        )
        if submission.deduplicated:
            note("this idempotency key was used before: nothing new was started")
        if not (watch_ or wait):
            emit(submission.to_dict(), output, lambda: submission.run_id)
            note(f"follow it with: agentctl workflow watch {submission.run_id}")
            return
        note(f"run {submission.run_id}")
        following.to_end(client, submission.run_id, output, quiet=wait and not watch_)


def run(**kwargs: Any) -> None:
    """Start a run and show its progress until it ends: `submit --watch`. The exit code is 0 only if it completed."""
    submit(**kwargs, watch_=True)


session.sign(run, submit, {}, hidden=("watch_", "wait"))
app.command()(remote(submit))
app.command()(remote(run))


def _is_file(text: str) -> bool:
    """What looks like a path is one, so that a misspelt file is not looked up as a workflow's name."""
    return text == "-" or "/" in text or text.endswith((".yaml", ".yml", ".json")) or Path(text).is_file()


@app.command("list")
@remote
def list_(
    status: Annotated[
        str, typer.Option(help="pending, running, waiting, paused, completed, failed or cancelled.", show_default=False)
    ] = "",
    workflow: Annotated[str, typer.Option(help="Only runs of this workflow.", show_default=False)] = "",
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only runs with this tag.")] = None,
    limit: paging.Limit = 50,
    everything: paging.All = False,
    page_token: paging.PageToken = "",
    output: Output = Format.TABLE,
) -> None:
    """List runs, newest first."""
    from agentctl.display import render

    tags = values.parse_tags(tag or ())
    with open_client() as client:
        found, token = paging.collect(
            lambda size, at: client.workflows.list(
                status=values.word(status), workflow=workflow, tags=tags, limit=size, page_token=at
            ),
            limit, everything, page_token,
        )  # fmt: skip
    filtered = bool(status or workflow or tag)
    none = "no run fits: leave out a filter" if filtered else "no runs yet: agentctl workflow submit FILE"
    emit([run.to_dict() for run in found], output, lambda: render.runs(found, none))
    paging.closing(len(found), token)


@app.command()
@remote
def get(
    run: RunId,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the originals of what was redacted; needs --reason.")
    ] = False,
    reason: Annotated[
        str, typer.Option(help="Why you need the originals; kept in the audit log.", show_default=False)
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """Show a run: status, steps, cost, output."""
    from agentctl.display import render

    why = values.reveal_reason(reveal, reason)
    with open_client() as client:
        run = runs.find(client, run)
        item = client.workflows.get(run, reveal=reveal, reason=why)
    emit(item.to_dict(), output, lambda: render.run(item))


@app.command()
@remote
def watch(run: RunId, output: Output = Format.TABLE) -> None:
    """Follow a run to its end. -o json prints one JSON object for each event; exit code 0 only if it completed."""
    from agentctl.display import live

    with open_client() as client:
        run = runs.find(client, run)
        if output is Format.TABLE:
            following.to_end(client, run, output)
            return
        view = live.follow(client, run, on_event=lambda event: _print_event(event, output))
        if not view.ended:
            following.exit_by(client.workflows.get(run))
        elif view.status != "completed":
            raise typer.Exit(FAILED)


def _print_event(event: Any, output: Format) -> None:
    if output is Format.JSON:
        sys.stdout.write(json.dumps(event.to_dict(), ensure_ascii=False) + "\n")
    else:
        import yaml

        sys.stdout.write("---\n" + yaml.safe_dump(event.to_dict(), sort_keys=False, allow_unicode=True))
    sys.stdout.flush()


for _part in (workflow_control, workflow_derive, workflow_versions):
    _part.add_to(app)
