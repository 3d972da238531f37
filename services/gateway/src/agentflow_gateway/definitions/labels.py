"""Which version a reference means: labels, canaries, references. Pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from agentflow_common import ids
from agentflow_common.errors import InvalidError, Problem
from agentflow_gateway.store.versions import LabelRow

LABEL: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
LATEST: Final = "latest"
LABELS_MAX: Final = 100  # of one workflow
_REF: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_-]{0,63})(?:@(?:([0-9]{1,9})|([a-z][a-z0-9_-]{0,31})))?\Z")


class WorkflowRef(msgspec.Struct, frozen=True):
    """version: None for the latest, or when a label decides."""

    name: str
    version: int | None = None
    label: str = ""


def parse_ref(ref: str) -> WorkflowRef:
    """`name`, `name@3`, `name@prod`; `name@latest` is `name`. InvalidError for anything else."""
    match = _REF.match(ref)
    version = int(match[2]) if match and match[2] else None
    if match is None or version == 0:
        fix = "write `name`, `name@version` or `name@label`"
        raise InvalidError(
            f"{ref[:80]!r} does not name a workflow",
            problems=(Problem("workflow", "not a workflow reference", fix),),
        )
    label = match[3] or ""
    return WorkflowRef(match[1], version, "" if label == LATEST else label)


def version_for(row: LabelRow, run: str) -> int:
    """The version that a label means for this run: the same run always gets the same one."""
    if row.canary_version is not None and run and ids.fraction("label", row.label, run) * 100 < row.canary_percent:
        return row.canary_version
    return row.version


def check_label(label: str) -> str:
    if not LABEL.match(label) or label == LATEST:
        fix = (
            "use 1 to 32 lower-case letters, digits, '_' or '-', beginning with a letter; `latest` is the engine's own"
        )
        raise InvalidError(f"{label[:40]!r} is not valid as a label", problems=(Problem("label", "not valid", fix),))
    return label


def moved(before: LabelRow | None, label: str, version: int, percent: int, taken: int) -> LabelRow:
    """The label once it points at `version` for `percent` of its submissions (0 and 100: all of them).

    taken: how many labels the workflow has. InvalidError when there is nothing that the rest could go to.
    """
    if before is None and taken >= LABELS_MAX:
        raise InvalidError(
            f"the workflow has {LABELS_MAX} labels already",
            problems=(Problem("label", f"the {LABELS_MAX + 1}th", "remove one: agentctl workflow label ... --remove"),),
        )
    if not 0 <= percent <= 100:
        raise InvalidError(
            f"percent {percent} is out of range", problems=(Problem("percent", "out of range", "use 1 to 100"),)
        )
    if percent in {0, 100} or (before is not None and before.version == version):
        return LabelRow(label=label, version=version)
    if before is None:
        fix = f"point it at a version first: agentctl workflow label NAME VERSION {label}"
        raise InvalidError(
            f"the label {label!r} has no version that the other {100 - percent}% could go to",
            problems=(Problem("percent", "the label is new", fix),),
        )
    return LabelRow(label=label, version=before.version, canary_version=version, canary_percent=percent)


def shown(rows: list[LabelRow]) -> dict[int, list[str]]:
    """Labels by version, as people read them: `prod`, `prod 10%`."""
    found: dict[int, list[str]] = {}
    for row in rows:
        part = f" {100 - row.canary_percent}%" if row.canary_version is not None else ""
        found.setdefault(row.version, []).append(row.label + part)
        if row.canary_version is not None:
            found.setdefault(row.canary_version, []).append(f"{row.label} {row.canary_percent}%")
    return found
