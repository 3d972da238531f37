"""A run of four steps, whose worker reports the first three in one event, and its twin with an event for each."""

from __future__ import annotations

import itertools
from typing import Any, Final

from agentflow_common import events as ev
from agentflow_common import subjects
from agentflow_common.log.event_log import Entry

TS: Final = 1_763_700_000_000
ALL: Final = 10**9  # a decision that had seen every fact before it
NAMES: Final = ("fetch", "clean", "count", "rank")
DEFINITION: Final[dict[str, Any]] = {
    "name": "chain",
    "version": 1,
    "dag": {
        "nodes": [
            {"id": name, "type": "function", "config": {"function_name": "text_splitter", "inputs": {"text": "a"}}}
            for name in NAMES
        ],
        "edges": [{"from": one, "to": other} for one, other in itertools.pairwise(NAMES)],
    },
}


def begun(name: str) -> ev.BegunStep:
    return ev.BegunStep(name, "function")


def events(org: str, run: str) -> list[tuple[str, ev.Event]]:
    """(Subject, event) of each message, in the order of the log."""
    own: dict[str, Any] = {"org": org, "run": run, "trace": "00-" + "a1" * 16 + "-" + "b2" * 8 + "-01"}
    key = subjects.key_of(org, run)
    offer = ev.StepScheduled(
        **own, ts=TS + 2, seen=ALL, step="fetch", attempt=1, lane="default", kind="function", config={}
    )
    before = (
        ev.DoneStep("fetch", begun("clean"), TS + 4, 1, ev.Payload({"n": 1}), TS + 3, 0.5, {"PHONE_NUMBER": 1}),
        ev.DoneStep("clean", begun("count"), TS + 6, output=ev.Payload("b"), started_at=TS + 4, duration_ms=1.5),
    )
    together = ev.StepCompleted(
        **own, ts=TS + 9, step="count", attempt=1, output=ev.Payload(2), worker="w", started_at=TS + 6, duration_ms=2.5,
        redactions={"PHONE_NUMBER": 2}, begun=begun("rank"), before=before,
    )  # fmt: skip
    last = ev.StepCompleted(
        **own, ts=TS + 12, step="rank", attempt=1, output=ev.Payload(["b"]), worker="w", started_at=TS + 9
    )
    submitted = ev.RunSubmitted(**own, ts=TS, workflow="chain", version=1, definition=DEFINITION)
    started = ev.RunStarted(**own, ts=TS + 1, seen=ALL, workflow="chain", version=1, steps=4, submitted_at=TS)
    return [
        (subjects.run_in(key), submitted),
        (subjects.out_run(key), started),
        (subjects.out_task(key, "default"), offer),
        (subjects.run_in(key), together),
        (subjects.run_in(key), last),
        (subjects.out_run(key), ev.RunCompleted(**own, ts=TS + 13, seen=ALL, output=ev.Payload(["b"]), duration_ms=13)),
    ]


def messages(org: str, run: str, *, singly: bool = False) -> list[Entry]:
    """The messages of the run. singly: each step is reported by itself."""
    return [
        Entry(subject, ev.encode(one))
        for subject, event in events(org, run)
        for one in (ev.single(event) if singly else (event,))
    ]
