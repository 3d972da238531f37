"""The calls that create and read prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from agentflow.v1 import prompt_pb2 as pb
from agentflow_sdk.convert.answers import page_reader, reader
from agentflow_sdk.convert.json_values import to_struct
from agentflow_sdk.convert.requests import listed
from agentflow_sdk.models.prompts import Prompt, PromptLabel, PromptVersion
from agentflow_sdk.models.records import Page
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("PromptService", pb)


def create_prompt(
    name: str,
    template: str,
    *,
    system: str = "",
    description: str = "",
    inputs_schema: Mapping[str, Any] | None = None,
    labels: str | Iterable[str] = (),
    task: str = "",
    max_output_tokens: int = 0,
    temperature: float = 0.0,
    timeout: float | None = None,
) -> Call[Prompt]:
    """Creates the next version of a prompt. A version never changes.

    Args:
        name: The name of the prompt.
        template: The text with `{{variables}}`.
        system: The system message; empty for none.
        description: The purpose of the prompt, for people.
        inputs_schema: The JSON Schema of the inputs object; None accepts every input.
        labels: Labels that point at this version from now on.
        task: A hint for the offline provider: summarize, keywords, classify, translate, detect_language, answer,
            moderate or entities.
        max_output_tokens: The most tokens of an answer; 0 means 1024.
        temperature: The sampling temperature, from 0 to 2.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The new version.

    Raises:
        InvalidArgumentError: The template or the schema is not valid.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.CreatePromptRequest(
        name=name,
        template=template,
        system=system,
        description=description,
        inputs_schema=to_struct({} if inputs_schema is None else inputs_schema, "inputs_schema"),
        labels=listed(labels),
        task=task,
        max_output_tokens=max_output_tokens,
        temperature=temperature,
    )
    return Call(_METHOD("CreatePrompt"), request, reader(Prompt, "prompt"), timeout, repeatable=False)


def get_prompt(name: str, version: int | str = "", *, timeout: float | None = None) -> Call[Prompt]:
    """Returns a version of a prompt.

    Args:
        name: The name, or `name@version`.
        version: A number or a label; empty for the latest version.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The version.

    Raises:
        NotFoundError: The org has no such prompt or version.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    if not version and "@" in name:
        name, _, version = name.partition("@")
    request = pb.GetPromptRequest(name=name, version=str(version))
    return Call(_METHOD("GetPrompt"), request, reader(Prompt, "prompt"), timeout)


def list_prompts(
    prefix: str = "", *, limit: int = 100, page_token: str = "", timeout: float | None = None
) -> Call[Page[Prompt]]:
    """Returns a page of the latest versions of prompts, by name.

    Args:
        prefix: Only prompts whose names begin with this.
        limit: The most items of the page, from 1 to 1000.
        page_token: The `next_page_token` of the page before; empty for the first page.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The page.

    Raises:
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.ListPromptsRequest(name_prefix=prefix, page_size=limit, page_token=page_token)
    return Call(_METHOD("ListPrompts"), request, page_reader(Prompt, "prompts"), timeout)


def list_versions(
    name: str, *, limit: int = 100, page_token: str = "", timeout: float | None = None
) -> Call[Page[PromptVersion]]:
    """Returns a page of the versions of a prompt with their labels, newest first.

    Args:
        name: The name of the prompt.
        limit: The most items of the page, from 1 to 1000.
        page_token: The `next_page_token` of the page before; empty for the first page.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The page.

    Raises:
        NotFoundError: The org has no such prompt.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.ListPromptVersionsRequest(name=name, page_size=limit, page_token=page_token)
    return Call(_METHOD("ListPromptVersions"), request, page_reader(PromptVersion, "versions"), timeout)


def set_label(name: str, label: str, version: int, *, timeout: float | None = None) -> Call[PromptLabel]:
    """Points a label at a version, which may be older. Runs that were submitted before keep their version.

    Args:
        name: The name of the prompt.
        label: The label, such as `production`.
        version: The version.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The label after the change.

    Raises:
        InvalidArgumentError: The label is not valid.
        NotFoundError: The prompt has no such version.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.SetPromptLabelRequest(name=name, label=label, version=version)
    return Call(_METHOD("SetPromptLabel"), request, reader(PromptLabel), timeout)


def remove_label(name: str, label: str, *, timeout: float | None = None) -> Call[bool]:
    """Removes a label of a prompt.

    Args:
        name: The name of the prompt.
        label: The label.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        False if the prompt did not have the label.

    Raises:
        NotFoundError: The org has no such prompt.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.SetPromptLabelRequest(name=name, label=label, remove=True)
    return Call(_METHOD("SetPromptLabel"), request, lambda reply: bool(reply.changed), timeout)
