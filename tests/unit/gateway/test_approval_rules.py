"""Who may answer an approval: a refusal says what to do."""

from __future__ import annotations

import pytest

from agentflow_common.errors import PermissionDeniedError
from agentflow_common.runs.state import RunState, StepState, StepStatus
from agentflow_gateway import auth_rules
from agentflow_gateway.controls import approval_rules


def test_usage_14_a_refused_approval_says_how_to_answer_for_an_approver() -> None:
    approval = StepState(status=StepStatus.WAITING, waiting="approval", detail={"approvers": ["ann", "bob"]})
    state = RunState(org="default", run="run_1", steps={"ask": approval})
    key = auth_rules.Identity(key_id="key_1", org="default", permissions=("admin",), name="ci")
    with pytest.raises(PermissionDeniedError, match="--as NAME"):
        approval_rules.person(state, "ask", key, "")
    assert approval_rules.person(state, "ask", key, "bob") == "bob"
