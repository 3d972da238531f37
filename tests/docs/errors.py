"""The tables of errors: codes, classes, exit codes, types of failed steps, kinds of refused calls."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from agentctl import failures
from agentflow_common import errors
from agentflow_gateway.schedules import webhook_server
from agentflow_sdk import errors as sdk_errors
from agentflow_worker.providers import port
from tests.docs.error_kinds import CLASSES, CODES, ENGINE, KINDS, MODELS
from tests.docs.markdown import code
from tests.docs.markdown import table as markdown_table
from tests.support.paths import ROOT

SOURCES: Final = ("libs/common/src", "services/*/src")
_SUBCLASSES: Final = {  # where a class is not found by its own name
    "MissingError": errors.NotFoundError,
}


class Raised(NamedTuple):
    """A kind as the code raises it."""

    code: str
    retryable: bool


@cache
def raised() -> Mapping[str, frozenset[Raised]]:
    """Returns every kind that the code gives an error by name, with the codes of the classes."""
    found: dict[str, set[Raised]] = {}
    for _, call, owner in calls():
        kind = next((item.value for item in call.keywords if item.arg == "kind"), None)
        if isinstance(kind, ast.Constant) and (error := _class_of(call, owner)) is not None:
            found.setdefault(kind.value, set()).add(Raised(error.code, error.retryable))
    return {kind: frozenset(places) for kind, places in found.items()}


def sources() -> list[Path]:
    return [path for pattern in SOURCES for path in sorted(ROOT.glob(f"{pattern}/**/*.py"))]


@cache
def calls() -> list[tuple[Path, ast.Call, str]]:
    """Returns every call in the sources with its file and the class that it stands in."""
    return [(path, *found) for path in sources() for found in _calls_in(ast.parse(path.read_text()), "")]


def _calls_in(tree: ast.AST, owner: str) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield node, owner
        yield from _calls_in(node, node.name if isinstance(node, ast.ClassDef) else owner)


def _class_of(call: ast.Call, owner: str) -> type[errors.AgentFlowError] | None:
    """Returns the class of `InvalidError(...)`, `InvalidError.at(...)` and of `super().__init__(...)` in one."""
    text = ast.unparse(call.func)
    name = owner if text == "super().__init__" else text.removesuffix(".at").removesuffix(".of").rpartition(".")[2]
    return _SUBCLASSES.get(name) or classes().get(name)


@cache
def classes() -> Mapping[str, type[errors.AgentFlowError]]:
    """Returns the error tree by name, with the classes that only some modules know."""
    for path in sources():
        if "Error)" in path.read_text():
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).partition(".src.")[2])
    return {kind.__name__: kind for kind in [errors.AgentFlowError, *_below(errors.AgentFlowError)]}


def _below(kind: type[Any]) -> Iterator[type[Any]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


# --- tables ---


def codes() -> str:
    rows = []
    for name, (meaning, fix) in CODES.items():
        error = errors.from_body(errors.ErrorBody(name, "", ""))
        sdk = type(sdk_errors.from_status(name, "")).__name__
        numbers = (str(failures.exit_code_of(error)), str(webhook_server.status_of(error)))
        rows.append((code(name), meaning, again(name), fix, code(sdk), *map(code, numbers)))
    head = ("Code", "Meaning", "Try again?", "What to do", "SDK class", "Exit code", "HTTP")
    return markdown_table(head, rows)


def again(name: str) -> str:
    """Returns whether the same call may succeed later, by the classes with this code."""
    kinds = {kind.retryable for kind in _below(errors.AgentFlowError) if kind.code == name}
    return "if it names a time" if len(kinds) > 1 else "yes" if kinds == {True} else "no"


def tree() -> str:
    """Returns the classes of `agentflow_common.errors` with their bases."""
    rows = []
    for name, purpose in CLASSES.items():
        kind: type[errors.AgentFlowError] = getattr(errors, name)
        again = "yes" if kind.retryable else "no"
        rows.append((code(name), code(kind.__bases__[0].__name__), code(kind.code), again, purpose))
    return markdown_table(("Class", "Base", "Code", "Try again?", "Meaning"), rows)


def types_of_steps() -> str:
    return _types({name: (*texts, STEPS_AGAIN.get(name, "no")) for name, texts in ENGINE.items()})


STEPS_AGAIN: Final = {  # the engine's types that the retry policy tries again; test_errors.py compares it with the code
    "timeout": "yes, until `total_timeout_ms`",
    "heartbeat_timeout": "yes",
    "outcome_unknown": "as `on_unknown` says",
    "lane_full": "yes",
    "child_failed": "yes",
    "child_cancelled": "no",
    "unknown": "yes",
}


def types_of_models() -> str:
    return _types({name: (*texts, "yes" if name in passing_kinds() else "no") for name, texts in MODELS.items()})


def passing_kinds() -> set[str]:
    """Returns the kinds of a failed model call that are tried again, as the class lists them."""
    listed = (port.ProviderError.__doc__ or "").partition("kind: ")[2].partition("(retryable)")[0]
    return {name.strip() for name in listed.split(",")}


def _types(types: Mapping[str, tuple[str, str, str]]) -> str:
    rows = [(code(name), meaning, tried, fix) for name, (meaning, fix, tried) in types.items()]
    return markdown_table(("Type", "Meaning", "Tried again?", "What to do"), rows)


def kinds() -> str:
    """Returns a table for each group of kinds."""
    parts = []
    for title, group in KINDS.items():
        rows = [(code(name), *_codes_of(name), meaning, fix) for name, (meaning, fix) in group.items()]
        head = ("Kind", "Code", "Try again?", "Meaning", "What to do")
        parts.append(f"### {title}\n\n{markdown_table(head, rows)}")
    return "\n".join(parts)


def _codes_of(kind: str) -> tuple[str, str]:
    """Returns the codes that the kind comes with, and whether the same call may succeed later."""
    found = raised().get(kind) or {Raised(DEFAULT_KINDS[kind], False)}
    retryable = "yes" if any(place.retryable for place in found) else "no"
    return ", ".join(code(name) for name in sorted({place.code for place in found})), retryable


DEFAULT_KINDS: Final = {  # kinds that the code makes of a class's name, or of the name of what is missing
    "blocked_error": errors.BlockedError.code,
    "budget_exceeded_error": errors.BudgetExceededError.code,
    "unknown_price_error": errors.UnknownPriceError.code,
    "unknown_function": errors.NotFoundError.code,
}
