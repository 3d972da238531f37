"""What follows when nobody answers: nothing that needs the approval runs unless the definition says so."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.runs.state import RunStatus, StepStatus

pytestmark = pytest.mark.integration

PAY = (
    "name: w\ndag:\n  nodes:\n    - {id: ask, type: approval, config: {expires_ms: 50, %s}}\n"
    "    - {id: pay, type: function, depends_on: [ask], config: {function_name: t.add, inputs: {a: 1}}}\n"
)


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        ("on_expire: fail", "approval_expired"),
        ("on_expire: reject", "rejected"),
        ("on_reject: fail", "approval_expired"),
    ],
)
async def test_an_approval_that_expires_holds_back_what_needs_it(engine: Any, policy: str, error: str) -> None:
    state = await engine.finished(await engine.submit(PAY % policy))
    assert (state.status, state.error.type) == (RunStatus.FAILED, error)
    assert "0 of 1 approvals came within 50 ms" in state.error.message
    assert "pay" not in state.steps or state.steps["pay"].status is not StepStatus.COMPLETED


@pytest.mark.parametrize(
    ("policy", "approved"), [("on_expire: reject, on_reject: continue", False), ("on_expire: approve", True)]
)
async def test_one_that_may_expire_says_so_in_its_output(engine: Any, policy: str, approved: bool) -> None:
    state = await engine.finished(await engine.submit(PAY % policy))
    assert state.status is RunStatus.COMPLETED
    assert state.steps["ask"].output.value == {"approved": approved, "decisions": [], "expired": True}
