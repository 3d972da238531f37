"""Answers about versions of workflows, their labels and their differences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agentflow_sdk.models.records import Record, RecordPage


@dataclass(frozen=True, slots=True)
class WorkflowVersion(Record):
    """A registered version of a workflow."""

    version: int
    """The version."""
    digest: str
    """The SHA-256 of the canonical definition, in hex."""
    created_at: int = 0
    """When it was registered, ms since the epoch."""
    created_by: str = ""
    """The name of the API key that registered it."""
    labels: tuple[str, ...] = ()
    """The labels that point at it: `prod`, or `prod 10%` for a part of the label's submissions."""


@dataclass(frozen=True, slots=True)
class Versions(RecordPage[WorkflowVersion]):
    """A page of the versions of a workflow, newest first. It can be iterated over."""

    versions: tuple[WorkflowVersion, ...]
    """The versions of the page."""
    paused: bool = False
    """True if the workflow is paused."""
    paused_reason: str = ""
    """Why the workflow is paused."""
    paused_until: int = 0
    """When the pause ends by itself, ms since the epoch; 0 if it does not."""
    next_page_token: str = ""
    """The `page_token` of the next page; empty on the last page."""


@dataclass(frozen=True, slots=True)
class Label(Record):
    """A label and where it points."""

    version: int
    """The version; 0 if the label was removed."""
    canary_version: int = 0
    """The version that gets a part of the label's submissions; 0 if no version does."""
    canary_percent: int = 0
    """The part of the label's submissions that go to `canary_version`, in percent."""
    changed: bool = False
    """False if the label pointed there before."""


@dataclass(frozen=True, slots=True)
class WorkflowLabel(Record):
    """A label of a workflow."""

    label: str
    """The label."""
    version: int
    """The version that it points at."""
    canary_version: int = 0
    """The version that gets a part of the label's submissions; 0 if no version does."""
    canary_percent: int = 0
    """The part of the label's submissions that go to `canary_version`, in percent."""


@dataclass(frozen=True, slots=True)
class RegisteredWorkflow(Record):
    """A registered workflow."""

    name: str
    """The name."""
    version: int
    """The latest version; of `definition` the one that was asked for."""
    digest: str
    """The SHA-256 of the version's canonical definition, in hex."""
    created_at: int = 0
    """When the version was registered, ms since the epoch."""
    created_by: str = ""
    """The name of the API key that registered the version."""
    versions: int = 0
    """The number of versions that the workflow has."""
    labels: tuple[WorkflowLabel, ...] = ()
    """All labels of the workflow, by name."""
    paused: bool = False
    """True if no step of its runs begins until it is resumed."""
    paused_until: int = 0
    """When the pause ends by itself, ms since the epoch; 0 if it does not."""


@dataclass(frozen=True, slots=True)
class RegisteredDefinition(Record):
    """The definition of a registered version."""

    workflow: RegisteredWorkflow
    """The workflow and the version."""
    definition_text: str
    """The text that was registered; YAML that means the same if the definition was registered as data."""
    definition: dict[str, Any] = field(default_factory=dict)
    """The definition as data, without defaults."""


@dataclass(frozen=True, slots=True)
class FieldChange(Record):
    """A field that differs between two definitions. None stands for a missing field and for null."""

    path: str
    """The path of the field, such as `policy.retry.max_attempts`."""
    old: Any = None
    """The value in the old definition."""
    new: Any = None
    """The value in the new definition."""


@dataclass(frozen=True, slots=True)
class Change(Record):
    """A part that differs between two definitions."""

    kind: str
    """`node`, `edge`, `input`, `output` or `workflow`."""
    what: str
    """`added`, `removed` or `changed`."""
    name: str
    """The id of the node, `a -> b` for an edge, or the name of the input or output."""
    fields: tuple[FieldChange, ...] = ()
    """The fields of the part that differ."""


@dataclass(frozen=True, slots=True)
class WorkflowDiff(Record):
    """The differences between two definitions."""

    old_name: str
    """The name of the old definition."""
    new_name: str
    """The name of the new definition."""
    changes: tuple[Change, ...] = ()
    """The parts that differ; empty if nothing does."""
