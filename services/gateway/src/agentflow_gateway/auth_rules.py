"""API keys, permissions, and the methods that each permission opens. Pure.

Identities and metadata arrive as arguments. A refusal is raised as the error that the client receives.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from agentflow_common.errors import InvalidError, PermissionDeniedError, UnauthenticatedError

PERMISSIONS: Final = ("read", "write", "admin", "reveal", "operator", "auditor")
INCLUDED_IN_ADMIN: Final = frozenset({"read", "write", "auditor"})  # `reveal` and `operator` (all orgs) are not
_METHODS: Final = {
    "read": """
        GetRun ListRuns WatchRun WaitRun WaitRuns ExplainRun ListApprovals ValidateWorkflow ListVersions DiffWorkflows
        ListWorkflows GetWorkflow
        GetSchedule ListSchedules PreviewSchedule ListCalendars ListLanes GetLane ListTools GetTool
        GetPrompt ListPrompts ListPromptVersions ListBudgets GetBudget GetTrace QueryTraces
        GetTraceSeries ExplainTrace
        DiffTraces DiffTraceGroups ExportTraceSpans
        ReplayTrace
    """,
    "write": """
        RegisterWorkflow SetLabel PauseWorkflow ResumeWorkflow SubmitWorkflow SubmitWorkflows
        CancelRun PauseRun ResumeRun BreakRun ContinueRun
        SignalRun AnswerApproval ResolveOutcome ForkRun RetryRun BatchRuns
        CreateSchedule UpdateSchedule DeleteSchedule PauseSchedule ResumeSchedule TriggerSchedule BackfillSchedule
        GetWebhook RotateWebhook SetCalendar DeleteCalendar CreatePrompt SetPromptLabel
    """,
    "admin": """
        CreateBudget UpdateBudget DeleteBudget DeleteWorkflow SetLane GetRetention SetRetention
        RebuildTraces GetTraceProgress
        ListDeadLetters GetDeadLetter ReplayDeadLetters PurgeDeadLetters
    """,
    "auditor": "ListAuditEntries GetAuditEntry VerifyAuditLog",
}
PERMISSION_OF: Final[Mapping[str, str]] = {
    method: permission for permission, methods in _METHODS.items() for method in methods.split()
}
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")


class Identity(msgspec.Struct, frozen=True):
    """The caller, as its API key identifies it."""

    key_id: str
    org: str
    permissions: tuple[str, ...]
    name: str = ""

    @property
    def actor(self) -> str:
        """The caller's name in events and audit entries."""
        return f"{self.name}:{self.key_id}" if self.name else self.key_id

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which the key may be an approver."""
        return tuple(dict.fromkeys(name for name in (self.name, self.key_id, self.actor) if name))


def bearer_key(metadata: Mapping[str, str]) -> str:
    """Returns the API key that the call carries. UnauthenticatedError explains how to send one."""
    header = metadata.get("authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if metadata.get("x-api-key", "").strip():
        return metadata["x-api-key"].strip()
    if header:
        raise UnauthenticatedError(
            "the `authorization` metadata is not `Bearer <api key>`", kind="malformed_credentials"
        )
    raise UnauthenticatedError(
        "no API key: send the metadata `authorization: Bearer <api key>` (or `x-api-key: <api key>`)",
        kind="missing_credentials",
    )


def key_digest(key: str) -> bytes:
    """Returns the digest under which a key is stored. Plain SHA-256 suffices: keys are random, no person chose them."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def require(identity: Identity, permission: str, what: str) -> None:
    """Raises PermissionDeniedError if the key lacks the permission. `admin` covers INCLUDED_IN_ADMIN."""
    granted = identity.permissions
    if permission in granted or (permission in INCLUDED_IN_ADMIN and "admin" in granted):
        return
    raise PermissionDeniedError(
        f"{what} needs the permission `{permission}`; this API key has {', '.join(granted) or 'none'}",
        kind="missing_permission",
    )


def authorise(identity: Identity, method: str, org_header: str) -> None:
    """Raises PermissionDeniedError if the key may not call the method, given by its bare name (`GetRun`).

    A method that is not listed is refused.
    """
    if org_header and org_header != identity.org:
        raise PermissionDeniedError(
            f"unknown org or not yours: {org_header[:64]!r}; leave the org out, the API key determines it",
            kind="wrong_org",
        )
    permission = PERMISSION_OF.get(method)
    if permission is None:
        raise PermissionDeniedError(f"{method} is not open to API keys", kind="unknown_method")
    require(identity, permission, method)


def check_permissions(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the permissions of a new key in the order of PERMISSIONS. InvalidError names an unknown one."""
    asked = {name.strip() for name in names if name.strip()}
    unknown = sorted(asked - set(PERMISSIONS))
    if unknown or not asked:
        text = f"unknown permission: {', '.join(unknown)}" if unknown else "a key needs at least one permission"
        raise InvalidError.at("permissions", text, f"choose from {', '.join(PERMISSIONS)}")
    return tuple(name for name in PERMISSIONS if name in asked)


def caller_trace(metadata: Mapping[str, str]) -> str:
    """Returns the caller's W3C traceparent if it is well formed, else the empty string."""
    value = metadata.get("traceparent", "")
    return value if _TRACEPARENT.match(value) else ""
