"""Faults that end a run by a limit of time: what used the time is the cause. A part of explain_faults.py."""

from __future__ import annotations

from typing import Any

from agentflow_common import events as ev
from agentflow_common.events import StepError

from .explain_drafts import MODELS, ONE_TRY, WORK, Draft, Planted, error_of, usage


def outage_until_total_timeout(draft: Draft) -> Planted:
    policy = {"total_timeout_ms": 4000, "retry": {"max_attempts": 50, "initial_ms": 200}}
    node = {"id": draft.name(), "type": "llm", "config": {"prompt": "Say hello"}, "policy": policy}
    error = StepError("overloaded", draft.text())
    act = lambda task: task.fails(300, error, llm=usage([(*MODELS[0], "overloaded")]))  # noqa: E731
    name = draft.plant(node, act, where=draft.random.choice(["plain", "child"]))
    draft.noise(2)
    return Planted(draft.world().goes_on(), "provider_outage", name)


def _until_deadline(draft: Draft, node: dict[str, Any], kind: str, act: Any = None) -> Planted:
    draft.noise(2)
    draft.fields["deadline_ms"] = 60_000
    where = "" if node["type"] == "function" and "lane_limit" not in node else "plain"
    name = draft.plant(node, act, where="plain" if where else draft.random.choice(["plain", "child"]))
    return Planted(draft.world().goes_on(), kind, name)


def unanswered_approval(draft: Draft) -> Planted:
    node = {"id": draft.name(), "type": "approval", "config": {"message": "Go?", "approvers": ["ana"]}}
    return _until_deadline(draft, node, "approval_missing", lambda _task: None)


def missing_signal(draft: Draft) -> Planted:
    node = {"id": draft.name(), "type": "signal", "config": {"signal": "go"}}
    return _until_deadline(draft, node, "signal_missing", lambda _task: None)


def slow_until_deadline(draft: Draft) -> Planted:
    return _until_deadline(draft, draft.function(draft.name()), "step_too_slow", lambda task: task.completes(600_000))


def outage_until_deadline(draft: Draft) -> Planted:
    policy = {"retry": {"max_attempts": 100, "initial_ms": 2000, "max_ms": 4000}}
    node = {"id": draft.name(), "type": "llm", "config": {"prompt": "Say hello"}, "policy": policy}
    error = StepError("rate_limited", draft.text())
    act = lambda task: task.fails(800, error, llm=usage([(*MODELS[2], "rate_limited")]))  # noqa: E731
    return _until_deadline(draft, node, "provider_outage", act)


def paused_until_deadline(draft: Draft) -> Planted:
    draft.noise(4)
    draft.fields["deadline_ms"] = 60_000
    world = draft.world()
    world.after(1, lambda: world.tell(world.key, ev.RunPauseRequested, reason=draft.text(), by="ana"))
    return Planted(world.goes_on(), "pause")


def _second_run(draft: Draft, kind: str, first: dict[str, Any], name: str) -> Planted:
    """Another run has what this one needs, and keeps it."""
    world = draft.world()
    own = world.unseen.pop(world.key)
    holder = world.submit("run_0", {"name": "holder", **first})
    world.goes_on(until=world.now + 50)
    assert world.is_open(holder.name)
    world.unseen[world.key] = own
    return Planted(world.goes_on(until=world.now + 200_000), kind, name)


def lane_taken(draft: Draft) -> Planted:
    slot = {"lane": "{{org}}-lane", "lane_limit": 1}
    draft.noise(1)
    draft.fields["deadline_ms"] = 60_000
    name = draft.add(draft.function(draft.name(), **slot))
    other = draft.function("holds", **slot)
    draft.acts["holds"] = lambda task: task.completes(900_000)
    return _second_run(draft, "lane_wait", {"dag": {"nodes": [other]}}, name)


def lock_taken(draft: Draft) -> Planted:
    draft.noise(1)
    draft.fields["deadline_ms"] = 60_000
    name = draft.add(draft.function(draft.name()))
    draft.top["lock"] = {"key": "account", "nodes": [name]}
    draft.acts["holds"] = lambda task: task.completes(900_000)
    first = {"lock": {"key": "account", "nodes": ["holds"]}, "dag": {"nodes": [draft.function("holds")]}}
    return _second_run(draft, "lock_wait", first, "")


def run_lane_full(draft: Draft) -> Planted:
    lane = {"key": "customer", "limit": 1, "policy": draft.random.choice(["skip", "cancel_newest"])}
    draft.noise(3)
    draft.top["run_lane"] = lane
    draft.acts["holds"] = lambda task: task.completes(900_000)
    first = {"run_lane": lane, "dag": {"nodes": [draft.function("holds")]}}
    return _second_run(draft, "run_lane_policy", first, "")


def pause_before_slow_step(draft: Draft) -> Planted:
    """A pause takes most of the time; the step that is under way at the deadline is not to blame."""
    first = draft.add(draft.function(draft.name()), lambda task: task.completes(3_000))
    draft.add(draft.function(draft.name(), depends_on=[first]), lambda task: task.completes(60_000))
    draft.fields["deadline_ms"] = 60_000
    world = draft.world()
    world.after(1_000, lambda: world.tell(world.key, ev.RunPauseRequested, by="bo"))
    world.after(48_000, lambda: world.tell(world.key, ev.RunResumeRequested, by="bo"))
    return Planted(world.goes_on(), "pause")


def other_error_at_last(draft: Draft) -> Planted:
    """Passing errors come first; the last attempt fails for a reason of its own."""
    node = draft.function(draft.name(), policy={"retry": {"max_attempts": 4, "initial_ms": 50}})
    passing, final = StepError("http_503", draft.text()), error_of(draft, "invalid_arguments")
    last = draft.random.randint(2, 3)
    act = lambda task: task.fails(60, final if task.attempt == last else passing)  # noqa: E731
    name = draft.plant(node, act)
    draft.noise(2)
    return Planted(draft.world().goes_on(), "bad_arguments", name)


def slow_item(draft: Draft) -> Planted:
    """One item of a map never ends, until the map's total time is over."""
    bad = draft.random.randrange(5)
    name = draft.name()
    config = {"over": [1, 2, 3, 4, 5], "body": {"type": "function", "config": WORK}}
    node = {"id": name, "type": "map", "config": config, "policy": {"total_timeout_ms": 9_000}}
    draft.add(node, lambda task: task.completes(900_000 if task.step == f"{name}[{bad}]" else 700))
    draft.noise(2)
    return Planted(draft.world().goes_on(), "step_too_slow", name)


def child_times_out(draft: Draft) -> Planted:
    """A subworkflow waits for people until the step that started it is out of time."""
    inner = draft.name()
    approval = {"id": inner, "type": "approval", "config": {"message": "Go?", "approvers": ["ana"]}}
    draft.children["inner"] = {"name": "inner", "dag": {"nodes": [approval]}}
    draft.acts[inner] = lambda _task: None
    node = {"id": draft.name(), "type": "subworkflow", "config": {"workflow": "inner"}}
    draft.add({**node, "policy": {"timeout_ms": 20_000, **ONE_TRY}})
    draft.noise(2)
    return Planted(draft.world().goes_on(), "approval_missing", inner)
