"""Random workflows around one node at which a test plants a fault, for explain_faults.py.

The other nodes have troubles of their own that the run gets over: attempts that fail and are tried again, models that
fall back, slow work, a step that may fail. None of them ends the run.
"""

from __future__ import annotations

import random
from typing import Any, Final, NamedTuple

from agentflow_common import events as ev
from agentflow_common.errors import RetryableError
from agentflow_common.events import LlmAttempt, LlmUsage, StepError
from agentflow_worker.machine import to_step_error

from .explain_world import Act, PlantedWorld, Task

NAMES: Final = (
    "load", "parse", "score", "merge", "notify", "price", "rank", "store", "plan", "draft", "book", "ship", "pack",
    "sort",
)  # fmt: skip
TEXTS: Final = (
    "E1204", "see case 77", "could not go on", "unexpected reply 0x1f", "item 4 of 9", "invoice 10-4471", "no luck",
)  # fmt: skip
MODELS: Final = (("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet"), ("google", "gemini-flash"))
WORK: Final = {"function_name": "f"}
ONE_TRY: Final[dict[str, Any]] = {"retry": {"max_attempts": 1}}
EXCEPTIONS: Final[tuple[type[Exception], ...]] = (ValueError, KeyError, RuntimeError, OSError, ZeroDivisionError)


class Draft:
    """A workflow that grows: its nodes, how they act, and what else is submitted."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.names = list(NAMES)
        self.random.shuffle(self.names)
        self.nodes: list[dict[str, Any]] = []
        self.acts: dict[str, Act] = {}
        self.children: dict[str, dict[str, Any]] = {}
        self.top: dict[str, Any] = {}  # fields of the definition
        self.fields: dict[str, Any] = {}  # fields of the submission

    def name(self) -> str:
        return self.names.pop()

    def text(self) -> str:
        return self.random.choice(TEXTS)

    def function(self, name: str, **more: Any) -> dict[str, Any]:
        return {"id": name, "type": "function", "config": dict(WORK), **more}

    def add(self, node: dict[str, Any], act: Act | None = None) -> str:
        """Adds a node behind one or two of those that are there."""
        known = [other["id"] for other in self.nodes]
        after = self.random.sample(known, min(len(known), self.random.randint(1, 2)))
        self.nodes.append({"depends_on": after, **node} if after else node)
        if act is not None:
            self.acts[str(node["id"])] = act
        return str(node["id"])

    def noise(self, count: int) -> None:
        """Adds nodes with troubles that the run gets over."""
        for _ in range(count):
            name = self.name()
            kind = self.random.choice(["quick", "quick", "slow", "again", "falls_back", "may_fail"])
            node = self.function(name)
            if kind == "slow":
                self.add(node, lambda task: task.completes(task.world.random.randint(600, 3_000)))
            elif kind == "again":
                node["policy"] = {"retry": {"max_attempts": 3, "initial_ms": 50}}
                error = to_step_error(RetryableError(self.text(), kind=self.random.choice(["busy", "connection"])))
                self.add(node, lambda task, error=error: self._again(task, error))  # type: ignore[misc]
            elif kind == "falls_back":
                self.add({"id": name, "type": "llm", "config": {"prompt": "Say hello"}}, self._falls_back)
            elif kind == "may_fail":
                node["policy"] = {"on_failure": "continue", "retry": {"max_attempts": 1}}
                error = to_step_error(OSError(self.text()))
                self.add(node, lambda task, error=error: task.fails(30, error))  # type: ignore[misc]
            else:
                self.add(node)

    @staticmethod
    def _again(task: Task, error: StepError) -> None:
        if task.attempt < 2:
            task.fails(40, error)
        else:
            task.completes(60)

    @staticmethod
    def _falls_back(task: Task) -> None:
        llm = usage([(*MODELS[0], "overloaded"), (*MODELS[1], "")])
        task.completes(700, llm=llm, output={"text": "ok"})

    def world(self) -> PlantedWorld:
        definition = {"name": "w", "inputs": {"go": {"type": "boolean", "default": True}}, **self.top,
                      "dag": {"nodes": self.nodes}}  # fmt: skip
        return PlantedWorld(definition, self.seed, self.acts, self.children, **self.fields)

    # --- where the node with the fault stands ---

    def plant(self, node: dict[str, Any], act: Act, where: str = "") -> str:
        """Adds the node with the fault: by itself, as an item of a map, in a loop, or in a subworkflow.

        Returns the node whose step fails.
        """
        name = str(node["id"])
        where = where or self.random.choice(["", "", "map", "loop", "child", "grandchild"])
        body = {"type": node["type"], "config": node["config"]}
        if where in {"map", "loop"} and node["type"] not in {"function", "llm", "tool"}:
            where = "child"
        if where == "map":
            bad = self.random.randrange(4)
            inner = {"over": [1, 2, 3, 4], "body": body}
            self.add({**node, "type": "map", "config": inner}, lambda task: _only(task, f"{name}[{bad}]", act))
        elif where == "loop":
            bad = self.random.randint(1, 3)
            inner = {"body": body, "max_iterations": 3, "until": "iteration >= 3"}
            self.add({**node, "type": "loop", "config": inner}, lambda task: _only(task, f"{name}@{bad}", act))
        elif where in {"child", "grandchild"}:
            self.acts[name] = act
            before = self.name()
            dag = {"nodes": [self.function(before), {**node, "depends_on": [before]}]}
            self.children["inner"] = {"name": "inner", "dag": dag}
            started = "inner"
            if where == "grandchild":
                middle = {"id": self.name(), "type": "subworkflow", "config": {"workflow": "inner"}}
                middle["policy"] = {"retry": {"max_attempts": 1}}
                self.children["outer"] = {"name": "outer", "dag": {"nodes": [middle]}}
                started = "outer"
            policy = {"policy": {"retry": {"max_attempts": 1}}}
            self.add({"id": self.name(), "type": "subworkflow", "config": {"workflow": started}, **policy})
        else:
            self.add(node, act)
        return name


def _only(task: Task, step: str, act: Act) -> None:
    """The act is that of one item or iteration; the others succeed."""
    if task.step == step:
        act(task)
    else:
        task.completes(80)


def usage(calls: list[tuple[str, str, str]], cost_nano: int = 0, latency_ms: int = 400) -> LlmUsage:
    """Returns what an attempt with these calls used, as (provider, model, error)."""
    attempts = tuple(
        LlmAttempt(
            provider, model, ok=not error, error=error, latency_ms=latency_ms, cost_nano=0 if error else cost_nano
        )
        for provider, model, error in calls
    )
    provider, model = (calls[-1][0], calls[-1][1]) if calls else ("", "")
    return ev.LlmUsage(provider, model, "inline", 10, 10, cost_nano, attempts=attempts)


class Planted(NamedTuple):
    world: PlantedWorld
    kind: str  # of the cause
    node: str = ""  # whose step it is about; empty: the run itself
    run: str = "run_1"  # that is explained


def error_of(draft: Draft, kind: str = "", retryable: bool = False) -> StepError:
    """Returns an error of a tool: of a type, or of a class of exceptions that is drawn."""
    if kind:
        return StepError(kind, draft.text(), retryable=retryable)
    return to_step_error(draft.random.choice(EXCEPTIONS)(draft.text()))
