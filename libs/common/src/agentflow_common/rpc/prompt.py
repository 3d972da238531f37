"""Questions to the prompt service: versions of prompts, references to them, and their texts."""

from __future__ import annotations

from typing import Any

from agentflow_common.rpc.verbs import Message, Verb


class PromptText(Message, frozen=True, kw_only=True):
    """Base of what describes one version of a prompt."""

    name: str
    template: str
    system: str = ""
    description: str = ""
    inputs_schema: dict[str, Any] = {}  # JSON Schema of the inputs object
    labels: tuple[str, ...] = ()
    # hint for the `local` provider (`summarize`, `keywords`, `classify`, `translate`, `detect_language`,
    # `answer`)
    task: str = ""
    max_output_tokens: int = 1024
    temperature: float = 0.0
    created_by: str = ""


class PromptVersion(PromptText, frozen=True, kw_only=True):
    """An immutable prompt version."""

    version: int
    created_at: int = 0  # ms since the epoch
    sha256: str = ""


class CreatePromptRequest(PromptText, frozen=True, kw_only=True):
    """A new version of `name` (version 1 if it is new)."""

    org: str


class GetPromptRequest(Message, frozen=True):
    """Asks for one version of a prompt."""

    org: str
    ref: str  # `name`, `name@3` or `name@label`; a bare name is the latest version


class ListPromptsRequest(Message, frozen=True):
    org: str
    name_prefix: str = ""
    limit: int = 100
    after: str = ""


class ListPromptsReply(Message, frozen=True):
    """The latest version of each prompt, by name."""

    prompts: tuple[PromptVersion, ...]


class ListPromptVersionsRequest(Message, frozen=True):
    org: str
    name: str
    limit: int = 100
    before: int = 0  # only versions below this number; 0: all


class PromptVersionRow(Message, frozen=True, kw_only=True):
    """A version of a prompt without its texts."""

    version: int
    sha256: str
    description: str = ""
    created_at: int = 0  # ms since the epoch
    created_by: str = ""
    labels: tuple[str, ...] = ()


class ListPromptVersionsReply(Message, frozen=True):
    """Versions of a prompt, newest first."""

    versions: tuple[PromptVersionRow, ...]


class SetPromptLabelRequest(Message, frozen=True):
    org: str
    name: str
    label: str
    version: int = 0  # 0: the label is taken away


class SetPromptLabelReply(Message, frozen=True):
    """Says where a label points now. version 0: it was taken away."""

    version: int
    changed: bool


class ResolvePromptsRequest(Message, frozen=True):
    org: str
    refs: tuple[str, ...]
    with_required: bool = False  # asks for the inputs that each version requires


class ResolvePromptsReply(Message, frozen=True):
    """The versions that prompt references mean now."""

    pinned: dict[str, str]  # ref -> `name@version`
    missing: tuple[str, ...] = ()  # refs that name nothing
    required: dict[str, tuple[str, ...]] = {}  # ref -> the inputs that its version requires


class RenderRequest(Message, frozen=True):
    """Asks for the text of a prompt with its variables filled in."""

    org: str
    run: str
    step: str
    ref: str  # pinned `name@version`
    inputs: dict[str, Any]


class RenderReply(Message, frozen=True):
    prompt: str
    system: str
    text: str
    task: str = ""
    max_output_tokens: int = 1024
    temperature: float = 0.0


PROMPT_CREATE = Verb("prompt", "create", CreatePromptRequest, PromptVersion)
PROMPT_GET = Verb("prompt", "get", GetPromptRequest, PromptVersion)
PROMPT_LIST = Verb("prompt", "list", ListPromptsRequest, ListPromptsReply)
PROMPT_VERSIONS = Verb("prompt", "versions", ListPromptVersionsRequest, ListPromptVersionsReply)
PROMPT_LABEL = Verb("prompt", "label", SetPromptLabelRequest, SetPromptLabelReply)
PROMPT_RESOLVE = Verb("prompt", "resolve", ResolvePromptsRequest, ResolvePromptsReply)
PROMPT_RENDER = Verb("prompt", "render", RenderRequest, RenderReply)
