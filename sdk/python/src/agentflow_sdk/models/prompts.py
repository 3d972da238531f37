"""Answers about prompts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agentflow_sdk.models.records import Record


@dataclass(frozen=True, slots=True)
class Prompt(Record):
    """A version of a prompt. It never changes."""

    name: str
    """The name of the prompt."""
    version: int
    """The version, from 1."""
    template: str
    """The text with `{{variables}}`."""
    system: str = ""
    """The system message."""
    description: str = ""
    """The purpose of the prompt."""
    inputs_schema: dict[str, Any] = field(default_factory=dict)
    """The JSON Schema of the inputs object."""
    labels: tuple[str, ...] = ()
    """The labels that point at this version."""
    task: str = ""
    """The hint for the offline provider."""
    max_output_tokens: int = 0
    """The most tokens that an answer may have."""
    temperature: float = 0.0
    """The sampling temperature, from 0 to 2."""
    created_at: int = 0
    """When the version was created, ms since the epoch."""
    created_by: str = ""
    """The name of the API key that created it."""
    sha256: str = ""
    """The SHA-256 of the content, in hex."""

    @property
    def ref(self) -> str:
        """The reference `name@version`, which an LLM step takes."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class PromptVersion(Record):
    """A version of a prompt in a list, without its texts."""

    version: int
    """The version, from 1."""
    sha256: str
    """The SHA-256 of the content, in hex."""
    description: str = ""
    """The purpose of the prompt."""
    created_at: int = 0
    """When the version was created, ms since the epoch."""
    created_by: str = ""
    """The name of the API key that created it."""
    labels: tuple[str, ...] = ()
    """The labels that point at it."""


@dataclass(frozen=True, slots=True)
class PromptLabel(Record):
    """A label of a prompt after a change."""

    version: int
    """The version that it points at; 0 if it was removed."""
    changed: bool = False
    """False if it was so before."""
