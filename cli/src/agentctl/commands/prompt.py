"""`agentctl prompt`: immutable prompt versions."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from agentctl import values
from agentctl.display import paging
from agentctl.display.output import Format, Output, emit
from agentctl.failures import CliError
from agentctl.session import open_client, remote

app = typer.Typer(no_args_is_help=True, help="Create and read prompts.")


@app.command()
@remote
def create(
    name: Annotated[str, typer.Argument(help="Name of the prompt.", show_default=False)],
    template: Annotated[
        str, typer.Option(help="A file with the template (or @file). Variables: {{name}}.", show_default=False)
    ] = "",
    text: Annotated[str, typer.Option(help="The template itself, instead of --template.", show_default=False)] = "",
    schema: Annotated[str, typer.Option(help="JSON Schema of the inputs, or @file.", show_default=False)] = "",
    system: Annotated[str, typer.Option(help="A file with the system message (or @file).", show_default=False)] = "",
    system_text: Annotated[str, typer.Option(help="The system message itself.", show_default=False)] = "",
    description: Annotated[str, typer.Option(help="What it is for.", show_default=False)] = "",
    label: Annotated[list[str] | None, typer.Option(help="A label that points at this version.")] = None,
    task: Annotated[
        str,
        typer.Option(
            help="Hint for the offline provider: summarize, keywords, classify, translate, detect_language, answer, "
            "moderate, entities.",
            show_default=False,
        ),
    ] = "",
    max_output_tokens: Annotated[int, typer.Option(help="0 means 1024.", min=0, max=1_000_000)] = 0,
    temperature: Annotated[float, typer.Option(min=0, max=2)] = 0.0,
    output: Output = Format.TABLE,
) -> None:
    """Create the next version of a prompt."""
    inputs_schema = _schema(schema)
    if bool(template) == bool(text):
        raise CliError("give either --template FILE or --text TEXT", fix="--text takes the template itself")
    if system and system_text:
        raise CliError("give either --system FILE or --system-text TEXT", fix="leave one of them out")
    with open_client() as client:
        prompt = client.prompts.create(
            name,
            text or values.template_text(template),
            system=system_text or values.template_text(system, "--system"),
            description=description,
            inputs_schema=inputs_schema,
            labels=label or (),
            task=task,
            max_output_tokens=max_output_tokens,
            temperature=temperature,
        )
    emit(prompt.to_dict(), output, lambda: f"{prompt.ref} created")


def _schema(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        data = values.decoded(values.text_or_file(text))
    except ValueError as error:
        raise CliError(f"--schema: not JSON: {error}", fix='write {"type": "object", ...}, or @file.json') from None
    if not isinstance(data, dict):
        raise CliError(f"--schema: a {type(data).__name__}, not an object", fix='write {"type": "object", ...}')
    return data


@app.command("list")
@remote
def list_(
    prefix: Annotated[str, typer.Option(help="Only names that start with this.", show_default=False)] = "",
    limit: paging.Limit = 100,
    everything: paging.All = False,
    page_token: paging.PageToken = "",
    output: Output = Format.TABLE,
) -> None:
    """List the latest version of each prompt."""
    from agentctl.display import render

    with open_client() as client:
        found, token = paging.collect(
            lambda size, at: client.prompts.list(prefix, limit=size, page_token=at), limit, everything, page_token
        )
    emit([item.to_dict() for item in found], output, lambda: render.prompts(found))
    paging.closing(len(found), token)


@app.command()
@remote
def get(
    name: Annotated[str, typer.Argument(help="NAME or NAME@VERSION.", show_default=False)],
    version: Annotated[str, typer.Argument(help="A number or a label; the latest if left out.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Show a prompt version."""
    from agentctl.display import render

    with open_client() as client:
        prompt = client.prompts.get(name, version)
    emit(prompt.to_dict(), output, lambda: render.prompt(prompt))
