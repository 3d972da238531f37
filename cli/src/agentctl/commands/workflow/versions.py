"""`agentctl workflow`: versions, labels, and what differs between two definitions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agentctl import values
from agentctl.display.output import Columns, Format, Output, emit, note, table_of, when
from agentctl.failures import CliError
from agentctl.listing import All, Limit, Listing, PageToken, closing, collect, listed
from agentctl.options import Prefix, argument, flag

if TYPE_CHECKING:
    from agentflow_sdk import Client, RegisteredWorkflow, Versions, WorkflowDiff, WorkflowVersion

Name = Annotated[str, argument("Name of the workflow.", "NAME")]


@listed(100)
def registered(client: Client, prefix: Prefix = "") -> Listing[RegisteredWorkflow]:
    """List the registered workflows with their latest versions and labels, by name."""

    def render(found: list[RegisteredWorkflow]) -> Any:
        columns: Columns[RegisteredWorkflow] = {
            "NAME": lambda item: item.name,
            "LATEST": lambda item: item.version,
            "VERSIONS": lambda item: item.versions,
            "LABELS": _labels,
            "CREATED": lambda item: when(item.created_at),
            "BY": lambda item: item.created_by,
            "": _paused,
        }
        empty = "no workflow is registered: agentctl workflow register FILE"
        return table_of(found, columns, right=("LATEST", "VERSIONS"), less=("BY", "CREATED"), empty=empty)

    return lambda size, at: client.workflows.registered(prefix, limit=size, page_token=at), render


def show(
    client: Client,
    workflow: Annotated[str, argument("A registered workflow.", "NAME[@VERSION|@LABEL]")],
    output: Output = Format.TABLE,
) -> None:
    """Show a registered definition as it was written; `show NAME > FILE` gives the file back."""
    found = client.workflows.definition(workflow)
    item = found.workflow

    def render() -> None:
        note(f"{item.name}@{item.version}, registered {when(item.created_at)} by {item.created_by or '-'}")
        note(f"versions {item.versions}, labels {_labels(item) or '-'}, sha256 {item.digest}")
        if item.paused:
            note(f"the workflow is {_paused(item)}")
        sys.stdout.write(found.definition_text.rstrip("\n") + "\n")

    emit(found.to_dict(), output, render)


def _paused(item: RegisteredWorkflow) -> str:
    end = f" until {when(item.paused_until)}" if item.paused_until else ""
    return f"paused{end}" if item.paused else ""


def _labels(item: RegisteredWorkflow) -> str:
    parts = []
    for mark in item.labels:
        canary = f" ({mark.canary_percent}% {mark.canary_version})" if mark.canary_version else ""
        parts.append(f"{mark.label} {mark.version}{canary}")
    return ", ".join(parts)


def versions(
    client: Client,
    name: Name,
    limit: Limit = 100,
    everything: All = False,
    page_token: PageToken = "",
    output: Output = Format.TABLE,
) -> None:
    """List the versions of a workflow with their labels, newest first."""
    from dataclasses import replace

    pages: list[Versions] = []

    def fetch(size: int, at: str) -> Versions:
        pages.append(client.workflows.versions(name, limit=size, page_token=at))
        return pages[-1]

    rows, token = collect(fetch, limit, everything, page_token)
    found = replace(pages[-1], versions=tuple(rows))

    def render() -> Any:
        if found.paused:
            end = f" (until {when(found.paused_until)})" if found.paused_until else ""
            note(f"the workflow is paused{': ' * bool(found.paused_reason)}{found.paused_reason}{end}")
        columns: Columns[WorkflowVersion] = {
            "VERSION": lambda item: item.version,
            "LABELS": lambda item: ", ".join(item.labels),
            "CREATED": lambda item: when(item.created_at),
            "BY": lambda item: item.created_by,
            "SHA256": lambda item: item.digest[:12],
        }
        return table_of(found.versions, columns, right=("VERSION",), less=("SHA256", "BY"))

    emit(found.to_dict(), output, render)
    closing(len(rows), token)


def label(
    client: Client,
    name: Name,
    version: Annotated[int, argument("The version; with --remove, any number.", min=0, max=2**31 - 1)],
    label: Annotated[str, argument("prod, canary, ...")],
    percent: Annotated[int, typer.Option(help="Of the label's submissions; the rest stays.", min=1, max=100)] = 100,
    remove: Annotated[bool, flag("Remove the label.", "--remove")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Point a label at a version, for all of its submissions or a part; `submit NAME@LABEL` follows it."""
    if remove:
        there = client.workflows.remove_label(name, label)
        said = f"{name}@{label} is removed" if there else f"{name} has no label {label}"
        emit({"workflow": name, "label": label, "changed": there}, output, lambda: said)
        return
    found = client.workflows.label(name, label, version, percent=percent)
    canary = f", {found.canary_percent}% to version {found.canary_version}" if found.canary_version else ""
    again = "" if found.changed else " (as before)"
    emit(found.to_dict(), output, lambda: f"{name}@{label} is version {found.version}{canary}{again}")


def diff(
    client: Client,
    first: Annotated[str, argument("A workflow; or the old definition.", "NAME|OLD")],
    second: Annotated[str, typer.Argument(metavar="OLD|NEW", help="A version or label; or the new definition.")],
    third: Annotated[str, typer.Argument(metavar="NEW", help="A version or label, after a name.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Show what differs: NAME V1 V2, or two of NAME@VERSION, a run's id and a file."""
    old, new = (f"{first}@{second}", f"{first}@{third}") if third else (first, second)
    left, right = _text(old), _text(new)
    if left is not None and right is not None:
        found = _diff_here(left, right, old, new)
    else:
        found = client.workflows.diff(old if left is None else left, new if right is None else right)

    def render() -> Any:
        note(f"{found.old_name} -> {found.new_name}")
        return "\n".join(_lines(found)) or "nothing differs"

    emit(found.to_dict(), output, render)


def _text(source: str) -> str | None:
    """Returns the text of a definition file; None for a source that only the server knows."""
    return values.as_text(values.read_text(source)) if values.is_file(source) else None


def _diff_here(left: str, right: str, old: str, new: str) -> WorkflowDiff:
    from agentflow_common.definition.diff import ABSENT, diff
    from agentflow_common.definition.parse import parse_text
    from agentflow_common.errors import InvalidError
    from agentflow_sdk import Change, FieldChange, WorkflowDiff

    parsed = []
    for text, name in ((left, old), (right, new)):
        try:
            parsed.append(parse_text(text, name).canonical())
        except InvalidError as error:
            raise CliError(f"{name}: {error.message}", fix=f"agentctl workflow validate {name}") from None

    changes = [
        Change(
            item.kind,
            item.what,
            item.name,
            tuple(
                FieldChange(field.path, *(None if value is ABSENT else value for value in (field.old, field.new)))
                for field in item.fields
            ),
        )
        for item in diff(parsed[0], parsed[1])
    ]
    return WorkflowDiff(old, new, tuple(changes))


def _lines(found: WorkflowDiff) -> list[str]:
    import msgspec

    from agentflow_common.definition.diff import Change, lines

    changes = found.to_dict()["changes"]
    for change in changes:
        change["fields"] = [{k: v for k, v in field.items() if v is not None} for field in change["fields"]]
    return lines(msgspec.convert(changes, tuple[Change, ...]))


def delete(
    client: Client,
    version: Annotated[str, argument("One version.", "NAME@VERSION")],
    output: Output = Format.TABLE,
) -> None:
    """Delete one version of a workflow that nothing uses any more; runs that have ended keep their copy."""
    name, _, number = version.partition("@")
    if not number.isdecimal():
        fix = "write agentctl workflow delete NAME@VERSION, for example digest@3; see: agentctl workflow versions NAME"
        raise CliError(f"{version!r} names no version", fix=fix)
    left = client.workflows.delete(name, int(number))
    data = {"workflow": name, "deleted": int(number), "versions": list(left)}
    rest = f"; left: {', '.join(map(str, left))}" if left else "; no version is left"
    emit(data, output, lambda: f"{name}@{number} is deleted{rest}")


COMMANDS: Final = (registered, show, versions, label, diff, delete)
