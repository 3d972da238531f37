"""Runs in derived tables, and which of them a query must find: its filters in Python, one after the other."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from agentflow_common.rpc import EVERY_ORG, TraceQueryRequest
from agentflow_trace.derive.tables import RunRow, StepRow
from agentflow_trace.rows import Row

TS = 1_763_700_000_000
ORGS = ("acme", "beta")
WORDS = ("invoice", "Zürich", "refund", "paid", "late", "ORDER")
STATUSES = ("pending", "running", "waiting", "completed", "failed", "cancelled")


class Planted(NamedTuple):
    """A run with its attempts, and an event for each text that one of them said."""

    run: RunRow
    steps: list[StepRow]
    said: list[str]


def planted(rng: Random, number: int) -> Planted:
    """Returns a run whose values collide often with those of others."""
    org = rng.choice(ORGS)
    at = TS + rng.randrange(20) * 1000
    run = f"run_{number:04}"
    status = rng.choice(STATUSES)
    ended = status in ("completed", "failed", "cancelled")
    duration = rng.randrange(6) * 100
    error = rng.choice(("timeout", "rate_limited")) if status == "failed" else ""
    row = RunRow(
        org, at, run,
        workflow=rng.choice(("wf", "other")),
        version=rng.randrange(1, 3),
        status=status,
        tags={key: rng.choice("12") for key in "ab" if rng.random() < 0.5},
        finished_at=at + duration if ended else 0,
        duration_ms=duration if ended else 0,
        cost_nano=rng.randrange(5) * 1_000,
        input_tokens=rng.randrange(4) * 10,
        output_tokens=rng.randrange(4),
        providers=tuple(rng.sample(("openai", "mistral"), rng.randrange(3))),
        models=tuple(rng.sample(("m-1", "m-2", "m-3"), rng.randrange(3))),
        prompts=tuple(rng.sample(("sum@1", "sum@2", "summary@1"), rng.randrange(3))),
        error_type=error,
        error="it took too long" if error else "",
        last_seq=number + 1,
    )  # fmt: skip
    steps = [
        StepRow(org, at, run, node, 1, node=node, error_type=rng.choice(("", "", "timeout", "boom")), last_seq=1)
        for node in rng.sample(("read", "analyze", "write"), rng.randrange(4))
    ]
    said = [" ".join(rng.sample(WORDS, rng.randrange(1, 4))) for _ in range(rng.randrange(3))]
    return Planted(row, steps, said)


def events(found: list[Planted]) -> list[Row]:
    """Returns rows of `events` that say the texts of these runs, and one that no search may find: a definition."""
    rows: list[Row] = []
    for item in found:
        for text in [*item.said, ""]:
            kind = "step.completed" if text else "run.submitted"
            body = (
                f'{{"type":"{kind}","output":{{"value":"{text}"}}}}' if text else '{"definition":"invoice paid late"}'
            )
            seq = len(rows) + 1
            rows.append(Row("AF_EVENTS", seq, TS, TS, item.run.org, item.run.run, kind, body=body))
    return rows


def question(rng: Random) -> TraceQueryRequest:
    """Returns a query with some filters."""
    given = {
        "start_ms": TS + rng.randrange(20) * 1000,
        "end_ms": TS + rng.randrange(20) * 1000,
        "provider": rng.choice(("openai", "mistral", "none")),
        "model": rng.choice(("m-1", "m-2", "m' OR 1")),
        "prompt": rng.choice(("sum", "sum@2", "summary", "su")),
        "workflow": rng.choice(("wf", "other")),
        "version": rng.randrange(1, 3),
        "status": rng.choice(STATUSES),
        "node": rng.choice(("read", "analyze", "nowhere")),
        "tags": {key: rng.choice("12") for key in rng.sample("ab", rng.randrange(1, 3))},
        "error_type": rng.choice(("timeout", "boom", "rate_limited")),
        "min_cost_nano": rng.randrange(1, 5) * 1_000,
        "max_cost_nano": rng.randrange(1, 5) * 1_000,
        "min_duration_ms": rng.randrange(1, 6) * 100,
        "max_duration_ms": rng.randrange(1, 6) * 100,
        "text": rng.choice(("INVOICE", "zürich", "paid, late", "order refund", "definition", "value")),
    }
    chosen = rng.sample(sorted(given), rng.choice((0, 1, 1, 2, 2, 3)))
    return TraceQueryRequest(
        rng.choice((*ORGS, EVERY_ORG)),
        sort=rng.choice(("newest", "cost", "latency", "tokens")),
        limit=rng.choice((1, 7, 50)),
        **{name: given[name] for name in chosen},  # type: ignore[arg-type]
    )


def matching(found: list[Planted], ask: TraceQueryRequest) -> list[str]:
    """Returns the runs that match, in the order that was asked for."""
    rows = [item.run for item in found if _matches(item, ask)]
    return [row.run for row in sorted(rows, key=lambda row: (_value(row, ask.sort), row.run), reverse=True)]


def _value(row: RunRow, sort: str) -> int:
    return {
        "newest": row.submitted_at,
        "cost": row.cost_nano,
        "latency": row.duration_ms,
        "tokens": row.input_tokens + row.output_tokens,
    }[sort]


def _matches(item: Planted, ask: TraceQueryRequest) -> bool:
    row = item.run
    words = set(ask.text.lower().replace(",", " ").split())
    return (
        ask.org in (row.org, EVERY_ORG)
        and (not ask.start_ms or row.submitted_at >= ask.start_ms)
        and (not ask.end_ms or row.submitted_at <= ask.end_ms)
        and (not ask.provider or ask.provider in row.providers)
        and (not ask.model or ask.model in row.models)
        and (not ask.prompt or any(ask.prompt in (name, name.split("@")[0]) for name in row.prompts))
        and ask.workflow in ("", row.workflow)
        and ask.version in (0, row.version)
        and ask.status in ("", row.status)
        and (not ask.node or any(step.node == ask.node for step in item.steps))
        and ask.tags.items() <= row.tags.items()
        and (not ask.error_type or ask.error_type in {row.error_type, *(step.error_type for step in item.steps)})
        and row.cost_nano >= ask.min_cost_nano
        and (not ask.max_cost_nano or row.cost_nano <= ask.max_cost_nano)
        and (not ask.min_duration_ms or (bool(row.finished_at) and row.duration_ms >= ask.min_duration_ms))
        and (not ask.max_duration_ms or (bool(row.finished_at) and row.duration_ms <= ask.max_duration_ms))
        and (not words or any(words <= {"value", *text.lower().split()} for text in item.said))
    )
