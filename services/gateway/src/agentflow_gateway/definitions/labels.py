"""Decides which version a reference means: labels, canaries, references. Pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from agentflow_common import ids
from agentflow_common.errors import InvalidError
from agentflow_gateway.store.labels import LabelRow

LABEL: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
LATEST: Final = "latest"
LABELS_MAX: Final = 100  # of one workflow
_REF: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_-]{0,63})(?:@(?:([0-9]{1,9})|([a-z][a-z0-9_-]{0,31})))?\Z")


class WorkflowRef(msgspec.Struct, frozen=True):
    name: str
    version: int | None = None  # None for the latest, or if a label decides
    label: str = ""


def parse_ref(ref: str) -> WorkflowRef:
    """Reads `name`, `name@3` or `name@prod`; `name@latest` is `name`. InvalidError for anything else."""
    match = _REF.match(ref)
    version = int(match[2]) if match and match[2] else None
    if match is None or version == 0:
        fix = "write `name`, `name@version` or `name@label`"
        raise InvalidError.at("workflow", f"{ref[:80]!r} is not a workflow reference", fix)
    label = match[3] or ""
    return WorkflowRef(match[1], version, "" if label == LATEST else label)


def parse_name(ref: str) -> str:
    """Reads the name of a workflow. InvalidError if a version or a label follows it."""
    parsed = parse_ref(ref)
    if parsed.version is not None or parsed.label:
        raise InvalidError.at("workflow", f"{ref[:80]!r} names a version", f"give the name alone: {parsed.name!r}")
    return parsed.name


def version_for(row: LabelRow, run: str) -> int:
    """Returns the version that a label means for this run. The same run always gets the same one."""
    if row.canary_version is not None and run and ids.fraction("label", row.label, run) * 100 < row.canary_percent:
        return row.canary_version
    return row.version


def check_label(label: str) -> str:
    if not LABEL.match(label) or label == LATEST:
        fix = (
            "use 1 to 32 lower-case letters, digits, '_' or '-', beginning with a letter; `latest` is the engine's own"
        )
        raise InvalidError.at("label", f"{label[:40]!r} is not a valid label", fix)
    return label


def moved(before: LabelRow | None, label: str, version: int, percent: int, taken: int) -> LabelRow:
    """Returns the label once it points at `version` for `percent` of its submissions (0 and 100: all of them).

    taken: how many labels the workflow has. InvalidError if there is no version for the rest of the submissions.
    """
    if before is None and taken >= LABELS_MAX:
        fix = "remove one: agentctl workflow label ... --remove"
        raise InvalidError.at("label", f"the workflow already has {LABELS_MAX} labels, the limit", fix)
    if not 0 <= percent <= 100:
        raise InvalidError.at("percent", f"percent {percent} is out of range", "use 1 to 100")
    if percent in {0, 100} or (before is not None and before.version == version):
        return LabelRow(label=label, version=version)
    if before is None:
        text = f"the label {label!r} is new and has no version for the other {100 - percent}%"
        fix = f"point it at a version first: agentctl workflow label NAME VERSION {label}"
        raise InvalidError.at("percent", text, fix)
    return LabelRow(label=label, version=before.version, canary_version=version, canary_percent=percent)


def shown(rows: list[LabelRow]) -> dict[int, list[str]]:
    """Returns labels by version, as people read them: `prod`, `prod 10%`."""
    by_version: dict[int, list[str]] = {}
    for row in rows:
        part = f" {100 - row.canary_percent}%" if row.canary_version is not None else ""
        by_version.setdefault(row.version, []).append(row.label + part)
        if row.canary_version is not None:
            by_version.setdefault(row.canary_version, []).append(f"{row.label} {row.canary_percent}%")
    return by_version
