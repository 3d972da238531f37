"""docs/errors.md names every error that the code knows, and nothing else."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from agentctl import failures
from agentflow_common import errors
from agentflow_common.definition.checks import policies
from agentflow_sdk import errors as sdk_errors
from agentflow_worker.providers import port
from tests.docs import errors as tables
from tests.docs.error_kinds import CLASSES, CODES, ENGINE, KINDS, MODELS
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/errors.md").read_text()
# Types that are put together when a step fails, or that come from errors of other parts.
COMPOSED = {"child_failed", "child_cancelled", "cancelled", "ended", "invalid_state", "timeout", "heartbeat_timeout"}


def own_classes(module: object) -> set[str]:
    return {
        name
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, Exception) and kind.__module__ == getattr(module, "__name__", "")
    }


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).partition(".src.")[2].removesuffix(".__init__")


def first_arguments(name: str) -> Iterator[str]:
    """Yields what may be the first argument of the calls of `name`, as far as it is a constant."""
    for path, call, _ in tables.calls():
        if ast.unparse(call.func).rpartition(".")[2] != name or not call.args:
            continue
        given = call.args[0]
        for part in (given.body, given.orelse) if isinstance(given, ast.IfExp) else (given,):
            if isinstance(part, ast.Constant):
                yield part.value
            elif isinstance(part, ast.Name) and part.id.isupper():
                yield getattr(importlib.import_module(module_of(path)), part.id)


def test_every_code_is_explained() -> None:
    assert set(CODES) == errors.CODES


def test_every_class_of_the_tree_is_explained() -> None:
    assert set(CLASSES) == own_classes(errors)


def test_every_error_of_the_sdk_is_on_the_page() -> None:
    for name in own_classes(sdk_errors):
        assert f"`{name}`" in PAGE


def test_every_exit_code_is_in_the_table() -> None:
    named = {int(number) for number in re.findall(r"^\| `(\d+)` \| ", PAGE, re.M)}
    assert named == {0, failures.FAILED, failures.BAD_INPUT, failures.UNREACHABLE, failures.NO_ACCESS,
                     failures.INTERRUPTED}  # fmt: skip


def test_every_kind_that_the_code_raises_is_explained_once() -> None:
    groups = [name for group in KINDS.values() for name in group]
    assert len(groups) == len(set(groups))
    assert set(tables.raised()) - set(groups) <= set(ENGINE) | set(MODELS)
    assert set(groups) - set(tables.raised()) <= set(tables.DEFAULT_KINDS)


def test_every_type_that_the_engine_gives_a_failed_step_is_explained() -> None:
    given = set(first_arguments("StepError"))
    assert len(given) > 10
    assert given <= set(ENGINE)
    assert set(ENGINE) - given <= COMPOSED


def test_retry_policies_know_the_types_of_the_page() -> None:
    assert set(ENGINE) == policies.ENGINE_TYPES
    assert set(MODELS) == policies.MODEL_TYPES
    assert {f"`{name}`" for name in policies.HTTP_TYPES} <= set(re.findall(r"`http_\w+`", PAGE))


def test_the_engine_makes_a_type_retryable_as_the_page_says() -> None:
    for _, call, _ in tables.calls():
        if ast.unparse(call.func).rpartition(".")[2] != "StepError" or not isinstance(call.args[0], ast.Constant):
            continue
        final = any(item.arg == "retryable" and ast.unparse(item.value) == "False" for item in call.keywords)
        name = call.args[0].value
        assert final == (tables.STEPS_AGAIN.get(name, "no") != "yes"), name


def test_every_kind_of_a_failed_model_call_is_explained() -> None:
    listed = re.search(r"kind: (.*)\.", port.ProviderError.__doc__ or "", re.S)
    assert listed is not None
    kinds = set(re.findall(r"[a-z_]+", re.sub(r"\([^)]*\)", "", listed[1])))
    raised = set(first_arguments("ProviderError"))
    assert raised <= kinds
    assert kinds <= set(MODELS)
    assert set(MODELS) - kinds <= set(tables.raised()) | set(tables.DEFAULT_KINDS)


def test_a_kind_made_of_a_class_is_what_the_class_says() -> None:
    for kind in (errors.BlockedError, errors.BudgetExceededError, errors.UnknownPriceError):
        assert kind("no").kind in tables.DEFAULT_KINDS
