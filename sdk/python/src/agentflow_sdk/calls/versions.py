"""The calls about versions of workflows: lists, labels, differences, deletion."""

from __future__ import annotations

from typing import Any, Final

from agentflow.v1 import control_pb2 as pb
from agentflow_sdk.calls.references import is_definition_text
from agentflow_sdk.convert.answers import page_reader, reader
from agentflow_sdk.models.records import Page
from agentflow_sdk.models.versions import Label, RegisteredDefinition, RegisteredWorkflow, Versions, WorkflowDiff
from agentflow_sdk.transport.call import Call, service

_METHOD: Final = service("VersionService", pb)


def list_workflows(
    prefix: str = "", *, limit: int = 100, page_token: str = "", timeout: float | None = None
) -> Call[Page[RegisteredWorkflow]]:
    """Returns a page of the registered workflows, by name, each with its latest version.

    Args:
        prefix: Only workflows whose names begin with this.
        limit: The most items of the page, from 1 to 1000.
        page_token: The `next_page_token` of the page before; empty for the first page.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The page.

    Raises:
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.ListWorkflowsRequest(name_prefix=prefix, page_size=limit, page_token=page_token)
    return Call(_METHOD("ListWorkflows"), request, page_reader(RegisteredWorkflow, "workflows"), timeout)


def get_definition(workflow: str, *, timeout: float | None = None) -> Call[RegisteredDefinition]:
    """Returns a registered version with its definition and its text.

    Args:
        workflow: `name` for the latest version, `name@version` or `name@label`.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The definition.

    Raises:
        NotFoundError: The org has no such workflow, version or label.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.GetWorkflowRequest(workflow=workflow)
    return Call(_METHOD("GetWorkflow"), request, reader(RegisteredDefinition), timeout)


def list_versions(
    workflow: str, *, limit: int = 1000, page_token: str = "", timeout: float | None = None
) -> Call[Versions]:
    """Returns a page of the registered versions of a workflow with their labels, newest first.

    Args:
        workflow: The name of the workflow.
        limit: The most items of the page, from 1 to 1000.
        page_token: The `next_page_token` of the page before; empty for the first page.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The page.

    Raises:
        NotFoundError: The org has no workflow of this name.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.ListVersionsRequest(workflow=workflow, page_size=limit, page_token=page_token)
    return Call(_METHOD("ListVersions"), request, reader(Versions), timeout)


def set_label(
    workflow: str, label: str, version: int, *, percent: int = 100, timeout: float | None = None
) -> Call[Label]:
    """Points a label at a version. Runs that were submitted before keep their definition.

    Args:
        workflow: The name of the workflow.
        label: The label, such as `prod`.
        version: The version.
        percent: The part of the label's submissions that go to the version, from 1 to 100. The rest stays with the
            version that the label had.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The label after the change.

    Raises:
        InvalidArgumentError: The label or the percentage is not valid.
        NotFoundError: The workflow has no such version.
        AbortedError: Others moved the label at the same time. Look at it and try again.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.SetLabelRequest(workflow=workflow, version=version, label=label, percent=percent)
    return Call(_METHOD("SetLabel"), request, reader(Label), timeout)


def remove_label(workflow: str, label: str, *, timeout: float | None = None) -> Call[bool]:
    """Removes a label.

    Args:
        workflow: The name of the workflow.
        label: The label.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        False if the workflow did not have the label.

    Raises:
        NotFoundError: The org has no workflow of this name.
        AbortedError: Others moved the label at the same time. Look at it and try again.
        PermissionDeniedError: The API key lacks the permission `write`.
    """
    request = pb.SetLabelRequest(workflow=workflow, label=label, remove=True)
    return Call(_METHOD("SetLabel"), request, lambda reply: bool(reply.changed), timeout)


def delete_workflow(workflow: str, version: int, *, timeout: float | None = None) -> Call[tuple[int, ...]]:
    """Deletes one version of a workflow. Its number stays taken: no other content is ever registered under it.

    Args:
        workflow: The name of the workflow.
        version: The version.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The versions that remain, newest first, at most 20.

    Raises:
        NotFoundError: The workflow has no such version.
        FailedPreconditionError: Labels, schedules, runs or other workflows still use it. The message names them.
        AbortedError: Others changed the version at the same time. Look at it and try again.
        PermissionDeniedError: The API key lacks the permission `admin`.
    """
    request = pb.DeleteWorkflowRequest(workflow=workflow, version=version)
    return Call(_METHOD("DeleteWorkflow"), request, lambda reply: tuple(reply.versions), timeout, repeatable=False)


def diff(old: str, new: str, *, timeout: float | None = None) -> Call[WorkflowDiff]:
    """Returns the differences between two definitions.

    Args:
        old: The old definition: `name@version`, `name@label`, the id of a run, or a text in YAML or JSON.
        new: The new definition, in one of the same forms.
        timeout: Seconds for the call, retries included; None for the client's default.

    Returns:
        The parts that differ.

    Raises:
        InvalidArgumentError: One of the texts is not a valid definition.
        NotFoundError: The org has no such workflow, version or run.
        PermissionDeniedError: The API key lacks the permission `read`.
    """
    request = pb.DiffWorkflowsRequest(old=_definition(old), new=_definition(new))
    return Call(_METHOD("DiffWorkflows"), request, reader(WorkflowDiff), timeout)


def _definition(text: str) -> Any:
    if is_definition_text(text):
        return pb.DefinitionSource(definition_text=text)
    return pb.DefinitionSource(run_id=text) if text.startswith("run_") else pb.DefinitionSource(workflow=text)
