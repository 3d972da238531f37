"""The prompts that AgentFlow ships: `services/prompt/prompts/*.yaml` in a checkout, `<package>/prompts` in a wheel.

An org gets a built-in as its own version 1 when it first asks for the name; if it has a prompt of that name, that one
wins.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

import msgspec

from agentflow_common.rpc import CreatePromptRequest

AUTHOR: Final = "agentflow"


def folder() -> Path:
    package = Path(__file__).resolve().parent
    inside = package / "prompts"
    return inside if inside.is_dir() else package.parents[1] / "prompts"


@functools.cache
def names() -> frozenset[str]:
    """The file names are the prompt names, so that knowing them needs no parsing."""
    return frozenset(file.stem for file in folder().glob("*.yaml"))


@functools.cache
def _body(name: str) -> dict[str, Any]:
    import yaml

    body: dict[str, Any] = yaml.safe_load((folder() / f"{name}.yaml").read_text())
    return body


def load(org: str, name: str) -> CreatePromptRequest:
    """The built-in as the request that creates it for an org."""
    return msgspec.convert({**_body(name), "org": org, "name": name, "created_by": AUTHOR}, CreatePromptRequest)
