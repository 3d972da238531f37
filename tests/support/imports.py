"""For tests of imports: small workflows of other engines, and what they become."""

from __future__ import annotations

import json
from typing import Any

import yaml

from agentctl.importers.convert import convert


def imported(engine: str, source: Any) -> tuple[dict[str, Any], list[str]]:
    """Returns the first definition, and the messages of the remarks."""
    made = convert(json.dumps(source), engine)
    assert made.invalid == ()
    return yaml.safe_load(made.definitions[0].text), [remark.message for remark in made.remarks]


def node(made: dict[str, Any], name: str) -> dict[str, Any]:
    return next(found for found in made["dag"]["nodes"] if found["id"] == name)


def argo(*steps: Any, templates: list[Any] | None = None, **spec: Any) -> dict[str, Any]:
    do = {"name": "do", "inputs": {"parameters": [{"name": "x", "value": "1"}]}, "container": {"image": "i"}}
    main = {"name": "main", "steps": [list(group) if isinstance(group, tuple) else [group] for group in steps]}
    return {"kind": "Workflow", "metadata": {"name": "w"}, "spec": {"entrypoint": "main", **spec,
            "templates": [main, do, *(templates or [])]}}  # fmt: skip


def conductor(*tasks: Any, **more: Any) -> dict[str, Any]:
    return {"name": "w", "tasks": list(tasks), **more}


def simple(name: str, **parameters: Any) -> dict[str, Any]:
    return {"name": name, "taskReferenceName": name, "type": "SIMPLE", "inputParameters": parameters}


def task_of(name: str, kind: str, **parameters: Any) -> dict[str, Any]:
    return {"name": name, "taskReferenceName": name, "type": kind, "inputParameters": parameters}


def n8n(nodes: list[Any], **connections: Any) -> dict[str, Any]:
    links = {name: {"main": [[{"node": target} for target in output] for output in outputs]}
             for name, outputs in connections.items()}  # fmt: skip
    return {"name": "w", "nodes": nodes, "connections": links}


def app(name: str, kind: str, **parameters: Any) -> dict[str, Any]:
    return {"name": name, "type": f"n8n-nodes-base.{kind}", "parameters": parameters}
