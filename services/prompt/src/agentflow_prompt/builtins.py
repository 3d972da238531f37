"""The built-in prompts: `services/prompt/prompts/*.yaml` in a checkout, `<package>/prompts` in a
wheel.

An org gets a built-in prompt as its own version 1 when it first asks for the name. If the org has a
prompt of that name, its own prompt is used.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

import msgspec

from agentflow_common import package_files
from agentflow_common.rpc import CreatePromptRequest

AUTHOR: Final = "agentflow"


def folder() -> Path:
    return package_files.find(__file__, "prompts")


@functools.cache
def names() -> frozenset[str]:
    """Returns the prompt names. They are the file names, so nothing has to be parsed."""
    return frozenset(file.stem for file in folder().glob("*.yaml"))


@functools.cache
def _body(name: str) -> dict[str, Any]:
    import yaml

    body: dict[str, Any] = yaml.safe_load((folder() / f"{name}.yaml").read_text())
    return body


def load(org: str, name: str) -> CreatePromptRequest:
    """Returns the request that creates the built-in prompt for an org."""
    return msgspec.convert({**_body(name), "org": org, "name": name, "created_by": AUTHOR}, CreatePromptRequest)
