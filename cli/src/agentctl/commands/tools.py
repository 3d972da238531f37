"""`agentctl tools`: the tools and functions that a step can name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentctl import values
from agentctl.display import paging
from agentctl.display.output import Format, Output, emit, note, table, when
from agentctl.session import open_client, remote

if TYPE_CHECKING:
    from agentflow_sdk import Tool

app = typer.Typer(no_args_is_help=True, help="Show the tools and functions that the workers offer.")

Kind = Annotated[str, typer.Option(help="Only `tool` or only `function`.", show_default=False)]


@app.command("list")
@remote
def list_(
    prefix: Annotated[str, typer.Option(help="Only names that start with this.", show_default=False)] = "",
    kind: Kind = "",
    limit: paging.Limit = 200,
    everything: paging.All = False,
    page_token: paging.PageToken = "",
    output: Output = Format.TABLE,
) -> None:
    """List tools and functions: built-in ones and those that the workers have loaded."""
    with open_client() as client:
        found, token = paging.collect(
            lambda size, at: client.tools.list(prefix, kind=values.word(kind), limit=size, page_token=at),
            limit, everything, page_token,
        )  # fmt: skip

    def render() -> Any:
        rows = [
            (tool.name, tool.kind, "yes" if tool.idempotent else "no", "built in" if tool.built_in else "loaded",
             tool.doc.partition("\n")[0])
            for tool in found
        ]  # fmt: skip
        return table(
            ("NAME", "TYPE", "IDEMPOTENT", "ORIGIN", "ABOUT"),
            rows,
            empty="no worker offers such a tool",
            less=("ORIGIN",),
        )

    emit([tool.to_dict() for tool in found], output, render)
    if found:
        note("the arguments of one: agentctl tools get NAME")
    paging.closing(len(found), token)


@app.command()
@remote
def get(
    name: Annotated[str, typer.Argument(help="Name of the tool or function.", show_default=False)],
    kind: Kind = "",
    output: Output = Format.TABLE,
) -> None:
    """Show a tool or function: what it does, its arguments, whether it may be repeated."""
    with open_client() as client:
        tool = client.tools.get(name, kind=values.word(kind))
    emit(tool.to_dict(), output, lambda: _shown(tool))


def _shown(tool: Tool) -> None:
    from agentctl.display import render
    from agentctl.display.output import clean, stdout

    console = stdout()
    pairs = [
        (tool.kind, tool.name),
        ("idempotent", "yes" if tool.idempotent else "no: an attempt whose outcome is not known is not repeated"),
        ("reveal", ", ".join(tool.reveal)),
        ("origin", "built in" if tool.built_in else f"loaded; offered {when(tool.offered_at)}"),
    ]
    console.print(render.fields(pairs))
    if tool.doc:
        console.print(f"\n{clean(tool.doc)}")
    console.print()
    required = tool.schema.get("required", ())
    rows = [
        (name, _type(spec, tool.schema), "required" if name in required else _default(spec))
        for name, spec in tool.schema.get("properties", {}).items()
    ]
    console.print(table(("ARGUMENT", "TYPE", "DEFAULT"), rows) if rows else "it takes no arguments")
    if tool.schema.get("additionalProperties"):
        console.print("further arguments are passed on")


def _type(spec: dict[str, Any], schema: dict[str, Any]) -> str:
    """Returns a JSON Schema in a few words: `array of string`, `string or null`."""
    if "$ref" in spec:
        return str(spec["$ref"]).rpartition("/")[2]
    for key in ("anyOf", "oneOf"):
        if key in spec:
            return " or ".join(dict.fromkeys(_type(part, schema) for part in spec[key]))
    if "enum" in spec:
        return " or ".join(json.dumps(item) for item in spec["enum"])
    if "const" in spec:
        return json.dumps(spec["const"])
    kind = str(spec.get("type", "any"))
    return f"array of {_type(spec['items'], schema)}" if kind == "array" and spec.get("items") else kind


def _default(spec: dict[str, Any]) -> str:
    return json.dumps(spec["default"], ensure_ascii=False) if "default" in spec else ""
