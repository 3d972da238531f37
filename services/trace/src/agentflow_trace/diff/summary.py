"""Says in a few sentences what a comparison found. Pure."""

from __future__ import annotations

from agentflow_common.money import display
from agentflow_common.rpc import DiffStep, TraceDiffReply


def summarize(reply: TraceDiffReply) -> str:
    """Returns the most important differences, the greatest contributors by name."""
    said = [_totals(reply)]
    if reply.same:
        said.insert(0, "Both runs did the same.")
    else:
        said.append(_structure(reply))
        first = next((step for step in reply.steps if step.first), None)
        if first is not None:
            said.append(_first(first))
    cost = max(reply.steps, key=lambda step: abs(step.cost_nano), default=None)
    if cost is not None and cost.cost_nano:
        said.append(f"Most of the difference in cost is in {name_of(cost)} ({signed_money(cost.cost_nano)}).")
    latency = max(reply.steps, key=lambda step: abs(step.latency_ms), default=None)
    if latency is not None and latency.latency_ms:
        said.append(f"Most of the difference in time is in {name_of(latency)} ({signed_ms(latency.latency_ms)}).")
    return " ".join(part for part in said if part)


def name_of(step: DiffStep) -> str:
    """Returns the key of a step, both of a renamed one."""
    if step.a is not None and step.b is not None and step.a.step != step.b.step:
        return f"{step.a.step} -> {step.b.step}"
    side = step.b or step.a
    return side.step if side is not None else ""


def signed_money(nano: int) -> str:
    """Returns an amount with its sign."""
    return f"{'-' if nano < 0 else '+'}{display(abs(nano))}"


def signed_ms(ms: int) -> str:
    """Returns a duration with its sign."""
    text = f"{abs(ms)} ms" if abs(ms) < 1000 else f"{abs(ms) / 1000:.2f} s"
    return f"{'-' if ms < 0 else '+'}{text}"


def _totals(reply: TraceDiffReply) -> str:
    cost = reply.b.cost_nano - reply.a.cost_nano
    time = reply.b.duration_ms - reply.a.duration_ms
    costs = "cost the same" if not cost else f"cost {display(abs(cost))} {'more' if cost > 0 else 'less'}"
    costs += _percent(cost, reply.a.cost_nano)
    times = "took the same time" if not time else f"took {signed_ms(time)[1:]} {'longer' if time > 0 else 'less'}"
    times += _percent(time, reply.a.duration_ms)
    return f"The second run {costs} and {times}."


def _percent(change: int, before: int) -> str:
    return f" ({change / before:+.0%})" if change and before else ""


def _structure(reply: TraceDiffReply) -> str:
    counts = [
        (sum(1 for step in reply.steps if step.what == "added"), "added"),
        (sum(1 for step in reply.steps if step.what == "removed"), "removed"),
        (sum(1 for step in reply.steps if step.what == "changed"), "changed"),
    ]
    said = [f"{number} {what}" for number, what in counts if number]
    status = "" if reply.a.status == reply.b.status else f"It is {reply.b.status}, the first one {reply.a.status}. "
    total = sum(number for number, _ in counts)
    steps = f"{'Step' if total == 1 else 'Steps'}: {', '.join(said)}." if said else "No step differs."
    return status + steps


def _first(step: DiffStep) -> str:
    causes = [name for name in ("model", "provider", "prompt", "config", "inputs", "attempts") if name in step.changes]
    verb = "differs" if len(causes) == 1 and not causes[0].endswith("s") else "differ"
    reason = f"where {' and '.join(causes)} {verb}" if causes else "with equal inputs"
    return f"The results part in {name_of(step)}, {reason}."
