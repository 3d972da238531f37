"""What a user of the SDK calls or reads is explained: arguments, results, errors, fields."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from typing import Any

import pytest

import agentflow_sdk
from agentflow_sdk import AsyncClient, Client, body, calls
from agentflow_sdk.testing import FakeAgentFlow, status_details

CLASSES: list[type] = [
    FakeAgentFlow,
    *(found for name in agentflow_sdk.__all__ if inspect.isclass(found := getattr(agentflow_sdk, name))),
]


def _defined_in(module: Any) -> Iterator[Callable[..., Any]]:
    for name, found in vars(module).items():
        if inspect.isfunction(found) and found.__module__ == module.__name__ and not name.startswith("_"):
            yield found


CALLS = [
    function
    for found in pkgutil.walk_packages(calls.__path__, "agentflow_sdk.calls.")
    for function in _defined_in(importlib.import_module(found.name))
    if str(inspect.signature(function).return_annotation).startswith(("Call[", "Stream[", "Program["))
]
FOR_SERVICES = {
    "changing",
    "enter",
    "definition",
    "start",
    "begin",
    "run",
    "of_workflow",
    "matching",
    "snapshot",
    "events_after",
    "pass_until",
}  # fmt: skip  (of the fake server)
METHODS = {
    method.__qualname__: method
    for kind in CLASSES
    for name, method in inspect.getmembers(kind, inspect.isfunction)
    if not name.startswith("_") and method.__module__.startswith("agentflow_sdk")
    if not (method.__qualname__.startswith("FakeState.") and name in FOR_SERVICES)
}


def sections(text: str) -> dict[str, str]:
    """Returns the sections of a docstring by name; the text before the first one has an empty name."""
    found, current = {"": ""}, ""
    for line in inspect.cleandoc(text).splitlines():
        if line in ("Args:", "Returns:", "Raises:", "Attributes:"):
            current = line.removesuffix(":")
            found[current] = ""
        else:
            found[current] += line + "\n"
    return found


def documented(text: str) -> list[str]:
    """Returns the names that a section explains."""
    return [line.split(":")[0] for line in textwrap.dedent(text).splitlines() if line[:1].strip() and ":" in line]


def missing(function: Callable[..., Any], *, needs: tuple[str, ...]) -> list[str]:
    """Returns what the docstring of a function lacks: sections, and arguments by name."""
    found = sections(function.__doc__ or "")
    parameters = [name for name in inspect.signature(function).parameters if name != "self"]
    lacking = [section for section in needs if not found.get(section, "").strip()]
    lacking += [] if found[""].strip() else ["a first sentence"]
    if documented(found.get("Args", "")) != parameters:
        lacking.append(f"Args for {parameters}, found {documented(found.get('Args', ''))}")
    return lacking


@pytest.mark.parametrize("function", CALLS, ids=lambda f: f"{f.__module__.rpartition('.')[2]}.{f.__name__}")
def test_every_call_explains_its_arguments_result_and_errors(function: Callable[..., Any]) -> None:
    assert missing(function, needs=("Returns", "Raises")) == []


def test_what_users_call_is_found() -> None:
    assert len(CALLS) > 60
    assert {"Client.close", "Nodes.map", "Modifiers.retry", "Run.step", "FakeState.skip"} <= METHODS.keys()


@pytest.mark.parametrize("function", [*_defined_in(body), status_details], ids=lambda f: f.__name__)
def test_every_function_explains_its_arguments_and_result(function: Callable[..., Any]) -> None:
    assert missing(function, needs=("Returns",)) == []


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_explains_its_arguments_and_result(method: Callable[..., Any]) -> None:
    plain = str(inspect.signature(method).return_annotation) in ("None", "dict[str, Any]")
    assert missing(method, needs=() if plain else ("Returns",)) == []


def _fields(kind: type) -> Iterator[tuple[str, bool]]:
    """Yields each annotated field of a class, and whether a docstring follows it."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(node, ast.ClassDef)
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            yield statement.target.id, text and isinstance(after.value.value, str)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_explains_its_fields_and_the_arguments_of_its_constructor(kind: type) -> None:
    assert (kind.__doc__ or "").strip() and not (kind.__doc__ or "").startswith(f"{kind.__name__}(")
    if is_dataclass(kind):
        assert [name for name, explained in _fields(kind) if not explained] == []
    elif "__init__" in vars(kind) or kind in (Client, AsyncClient):
        parameters = list(inspect.signature(kind).parameters)
        assert documented(sections(kind.__doc__ or "").get("Args", "")) == parameters
