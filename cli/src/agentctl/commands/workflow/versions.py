"""`agentctl workflow`: versions, labels, and what differs between two definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from agentctl import values
from agentctl.display import paging
from agentctl.display.output import Format, Output, emit, note, table, when
from agentctl.failures import CliError
from agentctl.session import open_client, remote

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the workflow.", show_default=False)]


@remote
def versions(
    name: Name,
    limit: paging.Limit = 100,
    everything: paging.All = False,
    page_token: paging.PageToken = "",
    output: Output = Format.TABLE,
) -> None:
    """List the versions of a workflow with their labels, newest first."""
    from dataclasses import replace

    with open_client() as client:
        pages: list[Any] = []

        def fetch(size: int, at: str) -> Any:
            pages.append(client.workflows.versions(name, limit=size, page_token=at))
            return pages[-1]

        rows, token = paging.collect(fetch, limit, everything, page_token)
    found = replace(pages[-1], versions=tuple(rows))

    def render() -> Any:
        if found.paused:
            note(f"the workflow is paused{': ' * bool(found.paused_reason)}{found.paused_reason}")
        rows = [
            (str(item.version), ", ".join(item.labels), when(item.created_at), item.created_by, item.digest[:12])
            for item in found.versions
        ]
        return table(("VERSION", "LABELS", "CREATED", "BY", "SHA256"), rows, right=("VERSION",), less=("SHA256", "BY"))

    emit(found.to_dict(), output, render)
    paging.closing(len(rows), token)


@remote
def label(
    name: Name,
    version: Annotated[
        int, typer.Argument(help="The version; with --remove, any number.", show_default=False, min=0, max=2**31 - 1)
    ],
    label: Annotated[str, typer.Argument(help="prod, canary, ...", show_default=False)],
    percent: Annotated[int, typer.Option(help="Of the label's submissions; the rest stays.", min=1, max=100)] = 100,
    remove: Annotated[bool, typer.Option("--remove", help="Take the label away.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Point a label at a version, for all of its submissions or a part; `submit NAME@LABEL` follows it."""
    with open_client() as client:
        if remove:
            there = client.workflows.remove_label(name, label)
            said = f"{name}@{label} is gone" if there else f"{name} has no label {label}"
            emit({"workflow": name, "label": label, "changed": there}, output, lambda: said)
            return
        found = client.workflows.label(name, label, version, percent=percent)
    canary = f", {found.canary_percent}% to version {found.canary_version}" if found.canary_version else ""
    again = "" if found.changed else " (as before)"
    emit(found.to_dict(), output, lambda: f"{name}@{label} is version {found.version}{canary}{again}")


@remote
def diff(
    first: Annotated[str, typer.Argument(metavar="NAME|OLD", help="A workflow; or the old one.", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="OLD|NEW", help="A version or label; or the new one.")],
    third: Annotated[str, typer.Argument(metavar="NEW", help="A version or label, after a name.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Show what differs: NAME V1 V2, or two of NAME@VERSION, a run's id and a file."""
    old, new = (f"{first}@{second}", f"{first}@{third}") if third else (first, second)
    left, right = _text(old), _text(new)
    if left is not None and right is not None:
        data = _diff_here(left, right, old, new)
    else:
        with open_client() as client:
            data = client.workflows.diff(old if left is None else left, new if right is None else right).to_dict()

    def render() -> Any:
        note(f"{data['old_name']} -> {data['new_name']}")
        return "\n".join(_lines(data["changes"])) or "nothing differs"

    emit(data, output, render)


def _text(source: str) -> str | None:
    """The text of a definition file; None for what only the server knows."""
    if source == "-" or "/" in source or source.endswith((".yaml", ".yml", ".json")) or Path(source).is_file():
        text = values.read_text(source)
        return text if "\n" in text else text + "\n"
    return None


def _diff_here(left: str, right: str, old: str, new: str) -> dict[str, Any]:
    from agentflow_common.definition.diff import ABSENT, diff
    from agentflow_common.definition.parse import parse_text
    from agentflow_common.errors import InvalidError

    parsed = []
    for text, name in ((left, old), (right, new)):
        try:
            parsed.append(parse_text(text, name).canonical())
        except InvalidError as error:
            raise CliError(f"{name}: {error.message}", fix=f"agentctl workflow validate {name}") from None
    changes = [
        {
            "kind": change.kind,
            "what": change.what,
            "name": change.name,
            "fields": [
                {
                    "path": field.path,
                    "old": None if field.old is ABSENT else field.old,
                    "new": None if field.new is ABSENT else field.new,
                }
                for field in change.fields
            ],
        }
        for change in diff(parsed[0], parsed[1])
    ]
    return {"old_name": old, "new_name": new, "changes": changes}


def _lines(changes: list[dict[str, Any]]) -> list[str]:
    from agentflow_common.definition.diff import ABSENT, Change, FieldChange, lines

    def put(value: Any) -> Any:
        return ABSENT if value is None else value

    made = tuple(
        Change(
            item["kind"], item["what"], item["name"],
            tuple(FieldChange(field["path"], put(field["old"]), put(field["new"])) for field in item["fields"]),
        )
        for item in changes
    )  # fmt: skip
    return lines(made)


@remote
def delete(
    version: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="One version.", show_default=False)],
    output: Output = Format.TABLE,
) -> None:
    """Delete one version of a workflow that nothing uses any more; runs that have ended keep their copy."""
    name, _, number = version.partition("@")
    if not number.isdecimal():
        fix = "write agentctl workflow delete NAME@VERSION, for example digest@3; see: agentctl workflow versions NAME"
        raise CliError(f"{version!r} names no version", fix=fix)
    with open_client() as client:
        left = client.workflows.delete(name, int(number))
    data = {"workflow": name, "deleted": int(number), "versions": list(left)}
    rest = f"; left: {', '.join(map(str, left))}" if left else "; no version is left"
    emit(data, output, lambda: f"{name}@{number} is deleted{rest}")


def add_to(app: typer.Typer) -> None:
    for command in (versions, label, diff, delete):
        app.command()(command)
