"""`agentctl prompt`: immutable prompt versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agentctl import values
from agentctl.display import render
from agentctl.display.output import Format, Output, emit
from agentctl.failures import CliError
from agentctl.groups import RemoteGroup
from agentctl.listing import Listing, listed
from agentctl.options import Prefix, argument, flag, option

if TYPE_CHECKING:
    from agentflow_sdk import Client, Prompt, PromptVersion

app = RemoteGroup("prompt", "Create and read prompts.")


@app.command()
def create(
    client: Client,
    name: Annotated[str, argument("Name of the prompt.")],
    template: Annotated[str, option("A file with the template (or @file). Variables: {{name}}.")] = "",
    text: Annotated[str, option("The template itself, instead of --template.")] = "",
    schema: Annotated[str, option("JSON Schema of the inputs, or @file.")] = "",
    system: Annotated[str, option("A file with the system message (or @file).")] = "",
    system_text: Annotated[str, option("The system message itself.")] = "",
    description: Annotated[str, option("The purpose of the prompt.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="A label that points at this version.")] = None,
    task: Annotated[
        str,
        option(
            "Hint for the offline provider: summarize, keywords, classify, translate, detect_language, answer, "
            "moderate, entities."
        ),
    ] = "",
    max_output_tokens: Annotated[int, typer.Option(help="0 means 1024.", min=0, max=1_000_000)] = 0,
    temperature: Annotated[float, typer.Option(min=0, max=2)] = 0.0,
    output: Output = Format.TABLE,
) -> None:
    """Create the next version of a prompt."""
    inputs_schema = values.json_object(schema, "--schema", '{"type": "object", ...}') if schema else None
    if bool(template) == bool(text):
        raise CliError("give either --template FILE or --text TEXT", fix="--text takes the template itself")
    if system and system_text:
        raise CliError("give either --system FILE or --system-text TEXT", fix="leave one of them out")
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


@app.command("list")
@listed(100)
def list_(client: Client, prefix: Prefix = "") -> Listing[Prompt]:
    """List the latest version of each prompt."""
    return lambda size, at: client.prompts.list(prefix, limit=size, page_token=at), render.prompts


@app.command()
def get(
    client: Client,
    name: Annotated[str, argument("NAME or NAME@VERSION.")],
    version: Annotated[str, typer.Argument(help="A number or a label; the latest if left out.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Show a prompt version."""
    prompt = client.prompts.get(name, version)
    emit(prompt.to_dict(), output, lambda: render.prompt(prompt))


@app.command()
@listed(100)
def versions(client: Client, name: Annotated[str, argument("Name of the prompt.")]) -> Listing[PromptVersion]:
    """List the versions of a prompt with their labels, newest first."""
    return lambda size, at: client.prompts.versions(name, limit=size, page_token=at), render.prompt_versions


@app.command()
def label(
    client: Client,
    name: Annotated[str, argument("Name of the prompt.")],
    version: Annotated[int, argument("The version; with --remove, any number.", min=0, max=2**31 - 1)],
    label: Annotated[str, argument("production, ...")],
    remove: Annotated[bool, flag("Remove the label.", "--remove")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Point a label at any version of a prompt, an older one too."""
    if remove:
        there = client.prompts.remove_label(name, label)
        said = f"{name}@{label} is removed" if there else f"{name} has no label {label}"
        emit({"name": name, "label": label, "changed": there}, output, lambda: said)
        return
    found = client.prompts.label(name, label, version)
    again = "" if found.changed else " (as before)"
    emit(found.to_dict(), output, lambda: f"{name}@{label} is version {found.version}{again}")
