"""Answers about controls into models; see convert/workflows.py."""

from __future__ import annotations

from agentflow.v1 import control_pb2 as pb
from agentflow_sdk.convert.workflows import from_struct, from_value, run_status, run_summary, same
from agentflow_sdk.models import controls as made


def signalled(message: pb.SignalRunResponse) -> made.Signalled:
    return made.Signalled(run_status(message.status), message.deduplicated, message.pending)


def answered(message: pb.AnswerApprovalResponse) -> made.Answered:
    return made.Answered(**same(message, "by", "repeated", "approvals", "required", "pending"))


def approval_page(message: pb.ListApprovalsResponse) -> made.ApprovalPage:
    found = tuple(
        made.Approval(
            approvers=tuple(item.approvers),
            answers=dict(item.answers),
            **same(item, "run_id", "workflow", "step", "message", "required", "since", "expires_at"),
        )
        for item in message.approvals
    )
    return made.ApprovalPage(found, message.next_page_token)


def fork(message: pb.ForkRunResponse | pb.RetryRunResponse) -> made.Fork:
    stale = tuple(message.stale) if isinstance(message, pb.ForkRunResponse) else ()
    return made.Fork(message.run_id, message.deduplicated, tuple(message.kept), stale)


def explanation(message: pb.ExplainRunResponse) -> made.Explanation:
    waiting = tuple(
        made.Waiting(detail=from_struct(item.detail), **same(item, "step", "kind", "text", "on", "until", "since"))
        for item in message.waiting
    )
    return made.Explanation(run_status(message.status), message.summary, waiting, message.more)


def batch_progress(message: pb.BatchRunsResponse) -> made.BatchProgress:
    return made.BatchProgress(
        sample=tuple(run_summary(item) for item in message.sample),
        failures=tuple(made.BatchFailure(item.run_id, item.kind, item.message) for item in message.failures),
        created=dict(message.created),
        **same(message, "matched", "done", "failed", "cursor", "finished"),
    )


def lane(message: pb.Lane) -> made.Lane:
    return made.Lane(
        limit=message.limit if message.HasField("limit") else None,
        rate_per_s=message.rate_per_s if message.HasField("rate_per_s") else None,
        holders=tuple(message.holders),
        **same(message, "name", "paused", "reason", "by", "at", "keyed", "active", "queued", "workers"),
    )


def versions(message: pb.ListVersionsResponse) -> made.Versions:
    found = tuple(
        made.WorkflowVersion(labels=tuple(item.labels), **same(item, "version", "digest", "created_at", "created_by"))
        for item in message.versions
    )
    return made.Versions(found, message.paused, message.paused_reason, message.next_page_token)


def label(message: pb.SetLabelResponse) -> made.Label:
    return made.Label(**same(message, "version", "canary_version", "canary_percent", "changed"))


def workflow_diff(message: pb.DiffWorkflowsResponse) -> made.WorkflowDiff:
    changes = tuple(
        made.Change(
            fields=tuple(
                made.FieldChange(
                    field.path,
                    from_value(field.old) if field.HasField("old") else None,
                    from_value(field.new) if field.HasField("new") else None,
                )
                for field in item.fields
            ),
            **same(item, "kind", "what", "name"),
        )
        for item in message.changes
    )
    return made.WorkflowDiff(message.old_name, message.new_name, changes)
