"""The surroundings of tasks of Serverless Workflow: their order in a list, `try`, the inputs of the workflow. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from agentctl.importers.documents import Document
from agentctl.importers.flow import Flow
from agentctl.importers.serverless import values
from agentctl.importers.source import Part


def inputs(source: Part, flow: Flow) -> None:
    """Gives a workflow the inputs that its schema declares."""
    schema = source["input"]["schema"]["document"]
    required = {item.text() for item in schema["required"].items()}
    for name, part in schema["properties"].fields():
        kind = part["type"].text("any")
        known = kind in {"string", "integer", "number", "boolean", "array", "object"}
        spec = {"type": kind if known else "any", **({} if name in required else {"required": False})}
        flow.inputs[name] = {**spec, **{rule: part[rule].value for rule in _RULES if rule in part}}


_RULES: Final = ("minimum", "maximum", "pattern", "enum", "minLength", "maxLength", "format", "default", "description")


@dataclass
class Guard:
    """A `try` around tasks: where their failures lead."""

    step: str
    retry: dict[str, Any] | None
    catches: bool
    part: Part
    failed: list[tuple[str, Document]] = field(default_factory=list)


def order(named: list[tuple[str, Part]]) -> list[int]:
    """Returns the numbers of the tasks so that each comes after those that lead to it, except in loops."""
    numbers = {name: number for number, (name, _) in enumerate(named)}

    def following(number: int) -> Iterator[int]:
        part = named[number][1]
        cases = [values.name_and_task(item)[1] for item in part["switch"].items()]
        thens = [case["then"].text() for case in cases] + ([] if cases and not part["then"] else [part["then"].text()])
        if cases and all(case["when"] for case in cases):
            thens.append("")
        for then in [*thens, *([""] if part["if"] else [])]:
            if (target := number + 1 if then in {"", "continue"} else numbers.get(then, -1)) in range(len(named)):
                yield target

    found: list[int] = []
    seen = {0}
    stack = [(0, following(0))] if named else []
    while stack:
        number, ahead = stack[-1]
        target = next(ahead, None)
        if target is None:
            stack.pop()
            found.append(number)
        elif target not in seen:
            seen.add(target)
            stack.append((target, following(target)))
    return found[::-1]


_OF_STEPS: Final = ("if", "input", "output", "export", "then", "timeout")  # what a task has by a step of its own


def is_map(loop: Part, levels: int) -> bool:
    """Returns True if a loop is a map, or maps in a map, around one call. levels: how many maps there may be."""
    tasks = list(loop["do"].items())
    if len(tasks) != 1 or levels == 0:
        return False
    _, task = values.name_and_task(tasks[0])
    if any(task[field] for field in _OF_STEPS):
        return False
    return is_map(task, levels - 1) if "for" in task else any(kind in task for kind in ("call", "run", "emit"))
