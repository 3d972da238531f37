"""`agentctl tools`: the tools and functions that a step can name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

from agentctl import values
from agentctl.display import render
from agentctl.display.output import Columns, Format, Output, clean, emit, note, stdout, table, table_of, when
from agentctl.groups import RemoteGroup
from agentctl.listing import Listing, listed
from agentctl.options import Prefix, argument, option

if TYPE_CHECKING:
    from agentflow_sdk import Client, Tool

app = RemoteGroup("tools", "Show the tools and functions that the workers offer.")

Kind = Annotated[str, option("Only `tool` or only `function`.")]


@app.command("list")
@listed(200)
def list_(client: Client, prefix: Prefix = "", kind: Kind = "") -> Listing[Tool]:
    """List tools and functions: built-in ones and those that the workers have loaded."""
    return lambda size, at: client.tools.list(prefix, kind=values.lower(kind), limit=size, page_token=at), _table


@app.command()
def get(
    client: Client,
    name: Annotated[str, argument("Name of the tool or function.")],
    kind: Kind = "",
    output: Output = Format.TABLE,
) -> None:
    """Show a tool or function: what it does, its arguments, and whether it may be repeated."""
    tool = client.tools.get(name, kind=values.lower(kind))
    emit(tool.to_dict(), output, lambda: _shown(tool))


def _table(tools: list[Tool]) -> Any:
    columns: Columns[Tool] = {
        "NAME": lambda tool: tool.name,
        "TYPE": lambda tool: tool.kind,
        "IDEMPOTENT": lambda tool: "yes" if tool.idempotent else "no",
        "ORIGIN": lambda tool: "built in" if tool.built_in else "loaded",
        "WORKERS": lambda tool: len(tool.workers) or "",
        "VERSIONS": lambda tool: 1 + len(tool.other_versions),
        "ABOUT": lambda tool: _about(tool.doc),
    }
    if tools:
        note("the arguments of one: agentctl tools get NAME")
    less = ("ORIGIN", "VERSIONS", "WORKERS")
    return table_of(tools, columns, empty="no worker offers such a tool", right=less[1:], less=less)


def _about(doc: str) -> str:
    """Returns the first sentence of a docstring, which may go over several lines."""
    text = " ".join(doc.partition("\n\n")[0].split())
    sentence, dot, _ = text.partition(". ")
    return sentence + dot.rstrip()


def _shown(tool: Tool) -> None:
    console = stdout()
    pairs = [
        (tool.kind, tool.name),
        ("idempotent", "yes" if tool.idempotent else "no: an attempt with an unknown outcome is not repeated"),
        ("reveal", ", ".join(tool.reveal)),
        ("origin", "built in" if tool.built_in else f"loaded; offered {when(tool.offered_at)}"),
        ("workers", ", ".join(tool.workers)),
        ("version", tool.version),
        *(("other version", f"{other.version} of {', '.join(other.workers)}") for other in tool.other_versions),
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
