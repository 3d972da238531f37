"""Which NATS subjects an org's schedules may listen to. Pure.

`TRIGGER_SUBJECTS` holds patterns, in which `{org}` is the caller's org. Without it the default org may listen to every
subject that is not the platform's or the server's own, and any other org to those that begin with its own name.
"""

from __future__ import annotations

from agentflow_common.errors import PermissionDeniedError
from agentflow_gateway.settings import GatewaySettings


def covers(pattern: str, subject: str) -> bool:
    """Whether every subject that `subject` matches, which may hold wildcards itself, is matched by `pattern`."""
    wanted, given = pattern.split("."), subject.split(".")
    for at, part in enumerate(wanted):
        if part == ">":
            return len(given) > at
        if at >= len(given) or given[at] == ">" or (part not in {"*", given[at]}):
            return False
    return len(wanted) == len(given)


def allowed_patterns(org: str, settings: GatewaySettings) -> tuple[str, ...]:
    if settings.trigger_subjects:
        return tuple(
            item.strip().replace("{org}", org) for item in settings.trigger_subjects.split(",") if item.strip()
        )
    return (">",) if org == settings.default_org_id else (f"{org}.>",)


def check_allowed(subject: str, org: str, settings: GatewaySettings) -> None:
    """PermissionDeniedError names what is open."""
    patterns = allowed_patterns(org, settings)
    if not any(covers(pattern, subject) for pattern in patterns):
        raise PermissionDeniedError(
            f"your org's schedules may not listen to {subject!r}; open to it: {', '.join(patterns) or 'nothing'} "
            "(the gateway's setting TRIGGER_SUBJECTS)",
            kind="subject_not_allowed",
        )
