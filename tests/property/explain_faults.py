"""Faults to plant in random runs, each with the cause that an explanation must name.

A fault happens by what the world outside does, and by the definition: a worker reports an error, is silent or is never
there, a provider is away, nobody answers, somebody cancels. The engine decides what follows. Nodes, texts and types of
errors are drawn from lists that do not depend on the fault, so nothing in a log names it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agentflow_common import events as ev
from agentflow_common.errors import BlockedError, BudgetExceededError, InvalidError, TerminalError
from agentflow_common.events import StepError
from agentflow_worker.machine import to_step_error

from .explain_drafts import MODELS, ONE_TRY, WORK, Draft, Planted, error_of, usage
from .explain_limits import (
    child_times_out,
    lane_taken,
    lock_taken,
    missing_signal,
    other_error_at_last,
    outage_until_deadline,
    outage_until_total_timeout,
    pause_before_slow_step,
    paused_until_deadline,
    run_lane_full,
    slow_item,
    slow_until_deadline,
    unanswered_approval,
)
from .explain_world import Task

Fault = Callable[[Draft], Planted]


def _fails(draft: Draft, error: StepError, kind: str) -> Planted:
    """A node whose every attempt fails with an error."""
    node = draft.function(
        draft.name(), policy={"retry": {"max_attempts": draft.random.randint(1, 3), "initial_ms": 50}}
    )
    name = draft.plant(node, lambda task: task.fails(draft.random.randint(5, 900), error))
    draft.noise(2)
    return Planted(draft.world().goes_on(), kind, name)


def tool_error(draft: Draft) -> Planted:
    return _fails(draft, error_of(draft), "tool_error")


def own_type(draft: Draft) -> Planted:
    """A tool that raises a type of its own, also one that a provider has."""
    return _fails(
        draft, error_of(draft, draft.random.choice(["card_declined", "rate_limited", "not_found"])), "tool_error"
    )


def http_error(draft: Draft) -> Planted:
    return _fails(draft, error_of(draft, draft.random.choice(["http_503", "http_404", "http_timeout"])), "http_error")


def bad_output(draft: Draft) -> Planted:
    return _fails(draft, to_step_error(TerminalError(draft.text(), kind="result_not_json")), "bad_output")


def bad_arguments(draft: Draft) -> Planted:
    return _fails(draft, to_step_error(InvalidError(draft.text(), kind="invalid_arguments")), "bad_arguments")


def _llm(draft: Draft, errors: list[str], last: str, kind: str, retryable: bool) -> Planted:
    """A node whose model calls fail."""
    node = {"id": draft.name(), "type": "llm", "config": {"prompt": "Say hello"},
            "policy": {"retry": {"max_attempts": draft.random.randint(1, 3), "initial_ms": 50}}}  # fmt: skip
    error = StepError(last, draft.text(), retryable=retryable)

    def act(task: Task) -> None:
        calls = [(*model, draft.random.choice(errors)) for model in MODELS[: draft.random.randint(1, 3)]]
        task.fails(900, error, llm=usage([*calls[:-1], (*calls[-1][:2], last)]))

    name = draft.plant(node, act)
    draft.noise(2)
    return Planted(draft.world().goes_on(), kind, name)


def provider_outage(draft: Draft) -> Planted:
    errors = ["rate_limited", "overloaded", "server_error", "connection", "timeout"]
    return _llm(draft, errors, draft.random.choice(errors), "provider_outage", True)


def provider_refused(draft: Draft) -> Planted:
    return _llm(draft, ["auth"], draft.random.choice(["auth", "quota"]), "provider_refused", False)


def bad_answer(draft: Draft) -> Planted:
    return _llm(draft, ["malformed_answer"], "malformed_answer", "bad_answer", True)


def budget_exhausted(draft: Draft) -> Planted:
    """Earlier calls spent the run's budget, and the cost service refuses the next one."""
    first = draft.name()

    def spends(task: Task) -> None:
        task.completes(700, llm=usage([(*MODELS[1], "")], cost_nano=9_000_000))
        task.world.after(
            720,
            lambda: task.world.spend(
                task.key, ev.CostSettled, step=first, attempt=1, reservation="r", provider="anthropic",
                model="claude-sonnet", input_tokens=10, output_tokens=10, cost_nano=9_000_000, reserved_nano=9_000_000,
                source_seq=5,
            ),
        )  # fmt: skip

    draft.add({"id": first, "type": "llm", "config": {"prompt": "Say hello"}}, spends)
    error = to_step_error(BudgetExceededError(draft.text()))
    node = {"id": draft.name(), "type": "llm", "config": {"prompt": "Say hello"}}
    name = draft.plant(node, lambda task: task.fails(3, error))
    draft.noise(1)
    return Planted(draft.world().goes_on(), "budget_exhausted", name)


def policy_block(draft: Draft) -> Planted:
    error = to_step_error(BlockedError(draft.text()))

    def act(task: Task) -> None:
        task.world.spend(
            task.key, ev.AuditRecorded, action="block", actor="security", step=task.step, reason=error.message
        )
        task.fails(20, error)

    name = draft.plant(draft.function(draft.name(), policy=ONE_TRY), act)
    draft.noise(2)
    return Planted(draft.world().goes_on(), "policy_block", name)


# --- workers ---


def worker_lost(draft: Draft) -> Planted:
    error = StepError("worker_lost", draft.text(), retryable=False)
    name = draft.plant(draft.function(draft.name()), lambda task: task.fails(4_000, error, effect=True))
    draft.noise(2)
    return Planted(draft.world().goes_on(), "worker_lost", name)


def outcome_unknown(draft: Draft) -> Planted:
    """The worker claims the attempt and vanishes; the one that has the task next says so."""

    def act(task: Task) -> None:
        task.tell(5, ev.ClaimTaken, attempt=task.attempt, worker="w-2")
        task.tell(9_000, ev.StepOutcomeUnknown, attempt=task.attempt, worker="w-3", claimed_by="w-2")

    name = draft.plant(draft.function(draft.name(), policy={"on_unknown": "fail"}), act)
    draft.noise(2)
    return Planted(draft.world().goes_on(), "outcome_unknown", name)


def worker_silent(draft: Draft) -> Planted:
    """The worker is killed while it works: its heartbeats end."""

    def act(task: Task) -> None:
        task.begins(8, "w-1")
        for beat in range(draft.random.randint(0, 3)):
            task.tell(400 * (beat + 1), ev.StepProgressed, attempt=task.attempt, progress=0.1 * beat, worker="w-1")

    node = draft.function(draft.name(), policy={"heartbeat_ms": 1000, "retry": {"max_attempts": 2, "initial_ms": 50}})
    name = draft.plant(node, act, where=draft.random.choice(["plain", "child"]))
    draft.noise(2)
    return Planted(draft.world().goes_on(), "worker_silent", name)


def no_worker(draft: Draft) -> Planted:
    """Nobody serves the pool of the node."""
    node = draft.function(draft.name(), policy={"timeout_ms": 5000, **ONE_TRY}, lane="gpu")
    name = draft.plant(node, lambda _task: None)
    draft.noise(2)
    return Planted(draft.world().goes_on(), "no_worker", name)


def step_too_slow(draft: Draft) -> Planted:
    node = draft.function(draft.name(), policy={"timeout_ms": 2000, **ONE_TRY})
    name = draft.plant(node, lambda task: task.completes(60_000))
    draft.noise(2)
    return Planted(draft.world().goes_on(), "step_too_slow", name)


def slow_provider(draft: Draft) -> Planted:
    """The model answers after the time limit; the worker's report comes too late."""
    node = {
        "id": draft.name(),
        "type": "llm",
        "config": {"prompt": "Say hello"},
        "policy": {"timeout_ms": 2000, **ONE_TRY},
    }
    llm = usage([(*MODELS[0], "")], latency_ms=7_900)
    name = draft.plant(node, lambda task: task.completes(8_000, llm=llm), where="plain")
    draft.noise(2)
    return Planted(draft.world().goes_on(), "provider_outage", name)


# --- people ---


def rejected(draft: Draft) -> Planted:
    def act(task: Task) -> None:
        task.tell(3_000, ev.ApprovalGiven, decision="reject", by="bo", comment=draft.text())

    node = {"id": draft.name(), "type": "approval", "config": {"message": "Go?", "approvers": ["ana", "bo"]}}
    name = draft.plant(node, act, where=draft.random.choice(["plain", "child"]))
    draft.noise(2)
    return Planted(draft.world().goes_on(), "approval_rejected", name)


def approval_expired(draft: Draft) -> Planted:
    config = {"message": "Go?", "approvers": ["ana"], "expires_ms": 30_000}
    name = draft.plant({"id": draft.name(), "type": "approval", "config": config}, lambda _task: None, where="plain")
    draft.noise(2)
    return Planted(draft.world().goes_on(), "approval_missing", name)


def signal_timeout(draft: Draft) -> Planted:
    config = {"signal": "go", "timeout_ms": 5_000, "on_timeout": "fail"}
    name = draft.plant({"id": draft.name(), "type": "signal", "config": config}, lambda _task: None, where="plain")
    draft.noise(2)
    return Planted(draft.world().goes_on(), "signal_missing", name)


def cancelled(draft: Draft) -> Planted:
    """A person cancels a run in which other things went wrong, too."""
    draft.noise(3)
    draft.add(draft.function(draft.name()), lambda task: task.completes(60_000))
    world = draft.world()
    request = {"reason": draft.text(), "by": "ana", "grace_ms": draft.random.choice([0, 500])}
    world.after(draft.random.randint(500, 3_000), lambda: world.tell(world.key, ev.RunCancelRequested, **request))
    return Planted(world.goes_on(), "cancelled_by_person")


# --- definitions ---


def bad_expression(draft: Draft) -> Planted:
    """An expression reads a field that the output does not have."""
    first = draft.add(draft.function(draft.name()))
    inputs = {**WORK, "inputs": {"x": f"{first}.output.total"}}
    node = {"id": draft.name(), "type": "function", "config": inputs}
    if draft.random.random() < 0.5:
        node = draft.function(str(node["id"]), condition=f"{first}.output.total + 1 > 3")
    draft.noise(2)
    name = draft.add({**node, "depends_on": [first]})
    return Planted(draft.world().goes_on(), "undecidable", name)


def tolerated_then_missing(draft: Draft) -> Planted:
    """A step fails, and may; a later expression can't do without its output."""
    error = error_of(draft)
    policy = {"on_failure": "continue", "retry": {"max_attempts": draft.random.randint(1, 2), "initial_ms": 50}}
    first = draft.add(draft.function(draft.name(), policy=policy), lambda task: task.fails(40, error))
    draft.noise(2)
    node = draft.function(draft.name(), condition=f"{first}.output.total + 1 > 3")
    draft.add({**node, "depends_on": [first]})
    return Planted(draft.world().goes_on(), "tool_error", first)


def loop_exhausted(draft: Draft) -> Planted:
    body = {"type": "function", "config": WORK}
    config = {"body": body, "max_iterations": 3, "until": "previous.n > 5", "on_max": "fail"}
    draft.noise(2)
    name = draft.add({"id": draft.name(), "type": "loop", "config": config})
    return Planted(draft.world().goes_on(), "loop_exhausted", name)


def ended_by_author(draft: Draft) -> Planted:
    draft.noise(3)
    error = {"type": "no_stock", "message": draft.text()}
    name = draft.add({"id": draft.name(), "type": "end", "config": {"status": "failed", "error": error}})
    return Planted(draft.world().goes_on(), "ended_by_author", name)


def finally_too_slow(draft: Draft) -> Planted:
    draft.noise(3)
    draft.top["finally_ms"] = 5_000
    name = draft.name()
    draft.nodes.append(draft.function(name, **{"finally": True}))
    draft.acts[name] = lambda task: task.completes(90_000)
    return Planted(draft.world().goes_on(), "finally_too_slow")


# --- trees of runs, sagas ---


def saga(draft: Draft) -> Planted:
    """A step fails, and what another one did can't be undone either."""
    undo = {"type": "function", "config": {"function_name": "undo"}, "retry": {"max_attempts": 1}}
    first = draft.add(draft.function(draft.name(), compensate_with=undo))
    other = error_of(draft, "ledger_closed")
    draft.acts[f"{first}:undo"] = lambda task: task.fails(20, other)
    error = error_of(draft)
    node = draft.function(draft.name(), policy=ONE_TRY, depends_on=[first])
    name = draft.add(node, lambda task: task.fails(300, error))
    draft.noise(1)
    return Planted(draft.world().goes_on(), "tool_error", name)


def parent_failed(draft: Draft) -> Planted:
    """A subworkflow is cancelled because a step beside it failed; the subworkflow is explained."""
    inner = draft.name()
    draft.children["inner"] = {"name": "inner", "dag": {"nodes": [draft.function(inner)]}}
    draft.acts[inner] = lambda task: task.completes(90_000)
    beside = draft.name()
    draft.nodes.append({"id": draft.name(), "type": "subworkflow", "config": {"workflow": "inner"}})
    error = error_of(draft)
    draft.nodes.append(draft.function(beside, policy=ONE_TRY))
    draft.acts[beside] = lambda task: task.fails(2_000, error)
    world = draft.world().goes_on()
    child = next(key.name for key in world.logs if key.kind == "run" and key.name != "run_1")
    return Planted(world, "tool_error", beside, child)


# --- runs that have not ended ---


def awaits_approval(draft: Draft) -> Planted:
    node = {"id": draft.name(), "type": "approval", "config": {"message": "Go?", "approvers": ["ana"]}}
    draft.noise(2)
    name = draft.plant(node, lambda _task: None, where=draft.random.choice(["plain", "child"]))
    return Planted(draft.world().goes_on(until=1_000_000 + 50_000), "approval_missing", name)


def asks_a_person(draft: Draft) -> Planted:
    def act(task: Task) -> None:
        task.tell(5, ev.ClaimTaken, attempt=task.attempt, worker="w-2")
        task.tell(9_000, ev.StepOutcomeUnknown, attempt=task.attempt, worker="w-3", claimed_by="w-2")

    draft.noise(2)
    name = draft.plant(draft.function(draft.name(), policy={"on_unknown": "ask"}), act, where="plain")
    return Planted(draft.world().goes_on(until=1_000_000 + 50_000), "outcome_unknown", name)


def still_retried(draft: Draft) -> Planted:
    policy = {"retry": {"max_attempts": 100, "initial_ms": 60_000, "max_ms": 600_000}}
    node = {"id": draft.name(), "type": "llm", "config": {"prompt": "Say hello"}, "policy": policy}
    error = StepError("overloaded", draft.text())
    draft.noise(2)
    act = lambda task: task.fails(800, error, llm=usage([(*MODELS[2], "overloaded")]))  # noqa: E731
    name = draft.plant(node, act, where="plain")
    return Planted(draft.world().goes_on(until=1_000_000 + 100_000), "provider_outage", name)


FAULTS: Final[tuple[Fault, ...]] = (
    tool_error, own_type, http_error, bad_output, bad_arguments, provider_outage, provider_refused, bad_answer,
    budget_exhausted, policy_block, worker_lost, outcome_unknown, worker_silent, no_worker, step_too_slow,
    slow_provider, outage_until_total_timeout, unanswered_approval, missing_signal, slow_until_deadline,
    outage_until_deadline, paused_until_deadline, pause_before_slow_step, other_error_at_last, slow_item,
    child_times_out, lane_taken, lock_taken, run_lane_full, rejected, approval_expired,
    signal_timeout, cancelled, bad_expression, tolerated_then_missing, loop_exhausted, ended_by_author,
    finally_too_slow, saga, parent_failed, awaits_approval, asks_a_person, still_retried,
)  # fmt: skip


def plant(number: int) -> Planted:
    """Returns the planted fault of a number: the kinds take turns."""
    return FAULTS[number % len(FAULTS)](Draft(number))
