"""Decides which NATS subjects an org's schedules may listen to. Pure.

`TRIGGER_SUBJECTS` contains patterns in which `{org}` is the caller's org. Without it the default org may listen to
every subject but the platform's and the server's own, and any other org to those that begin with its own name.
"""

from __future__ import annotations

from agentflow_common.errors import PermissionDeniedError
from agentflow_gateway.settings import GatewaySettings


def covers(pattern: str, subject: str) -> bool:
    """True if `pattern` matches every subject that `subject`, which may contain wildcards itself, matches."""
    allowed, asked = pattern.split("."), subject.split(".")
    for at, part in enumerate(allowed):
        if part == ">":
            return len(asked) > at
        if at >= len(asked) or asked[at] == ">" or (part not in {"*", asked[at]}):
            return False
    return len(allowed) == len(asked)


def allowed_patterns(org: str, settings: GatewaySettings) -> tuple[str, ...]:
    if settings.trigger_subjects:
        return tuple(
            item.strip().replace("{org}", org) for item in settings.trigger_subjects.split(",") if item.strip()
        )
    return (">",) if org == settings.default_org_id else (f"{org}.>",)


def check_allowed(subject: str, org: str, settings: GatewaySettings) -> None:
    """Raises PermissionDeniedError, which names the subjects that are open."""
    patterns = allowed_patterns(org, settings)
    if not any(covers(pattern, subject) for pattern in patterns):
        raise PermissionDeniedError(
            f"your org's schedules may not listen to {subject!r}, only to: {', '.join(patterns) or 'nothing'} "
            "(the gateway's setting TRIGGER_SUBJECTS)",
            kind="subject_not_allowed",
        )
