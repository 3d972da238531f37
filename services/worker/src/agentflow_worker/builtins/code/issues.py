"""Rules over the tree of Python source: what a reviewer would object to, how severe it is, and what to do."""

from __future__ import annotations

import ast
import builtins
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from agentflow_worker.builtins.code.complexity import cyclomatic, nesting
from agentflow_worker.builtins.code.source import SCOPES, Function, FunctionNode, argument_names

HIGH, MEDIUM, LOW = "high", "medium", "low"
WEIGHTS: Final = {HIGH: 5.0, MEDIUM: 2.0, LOW: 0.5}
_DYNAMIC: Final = frozenset({"eval", "exec"})
_MUTABLE_CALLS: Final = frozenset({"list", "dict", "set", "bytearray"})
_SHADOWED: Final = frozenset(dir(builtins)) - {"__doc__", "__name__", "_"}
_ENDS: Final = (ast.Return, ast.Raise, ast.Break, ast.Continue)
# rule: (severity, suggestion); a finding may say something else
RULES: Final = {
    "assert-on-tuple": (HIGH, "remove the parentheses"),
    "bare-except": (HIGH, "name the exceptions, or at least write `except Exception`"),
    "bool-comparison": (LOW, "use the value itself, or `not`"),
    "complex-function": (MEDIUM, "split it where a comment would head a part"),
    "deep-nesting": (MEDIUM, "return early, or move the inner block out"),
    "dynamic-code": (HIGH, "parse the text (ast.literal_eval, json) or look functions up in a dictionary"),
    "f-string-without-field": (LOW, "remove the `f`"),
    "global-state": (MEDIUM, "pass the value in and give the new one back"),
    "literal-identity": (HIGH, "compare with `==` or `!=`"),
    "long-function": (MEDIUM, "move its parts into functions with names"),
    "many-arguments": (LOW, "group those that belong together in a class"),
    "missing-docstring": (LOW, "say in a line what it gives"),
    "mutable-default": (HIGH, "use None and make the value inside the function"),
    "none-comparison": (MEDIUM, "write `is None`"),
    "redefined-name": (HIGH, "rename or remove one"),
    "repeated-key": (HIGH, "remove one"),
    "shadowed-builtin": (LOW, "choose another name"),
    "shell-command": (HIGH, "pass a list of arguments and leave `shell` out"),
    "star-import": (MEDIUM, "import the names that are used"),
    "swallowed-error": (HIGH, "handle it, log it, or catch only what may be ignored"),
    "unreachable-code": (HIGH, "remove what follows, or move it before"),
    "unused-import": (LOW, "remove it"),
}


class Limits(NamedTuple):
    complexity: int = 10
    lines: int = 60
    arguments: int = 6
    depth: int = 4


class Issue(NamedTuple):
    """A finding: what is wrong, and what to do about it."""

    rule: str
    severity: str
    line: int  # from 1
    message: str
    suggestion: str


def _issue(rule: str, node: ast.stmt | ast.expr | ast.excepthandler, message: str, suggestion: str = "") -> Issue:
    severity, usual = RULES[rule]
    return Issue(rule, severity, node.lineno, message, suggestion or usual)


def find(tree: ast.Module, functions: list[Function], limits: Limits) -> list[Issue]:
    """Returns all issues by line."""
    found: list[Issue] = []
    for node in ast.walk(tree):
        for check in _CHECKS.get(type(node), ()):
            found.extend(check(node))
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                found.extend(_unreachable(block))
    for function in functions:
        found.extend(_of_function(function, limits))
    found.extend(unused_imports(tree))
    found.extend(_redefined(tree))
    return sorted(set(found), key=lambda issue: (issue.line, issue.rule, issue.message))


# --- single nodes ---


def _handler(node: ast.ExceptHandler) -> Iterator[Issue]:
    if node.type is None:
        yield _issue("bare-except", node, "a bare `except` also catches KeyboardInterrupt and SystemExit")
    broad = node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"})
    if broad and all(isinstance(s, ast.Pass) or _is_ellipsis(s) for s in node.body):
        yield _issue("swallowed-error", node, "every error is swallowed without a trace")


def _is_ellipsis(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is Ellipsis


def _defaults(node: ast.AST) -> Iterator[Issue]:
    assert isinstance(node, FunctionNode)  # noqa: S101
    for name, default in default_values(node):
        if is_mutable(default):
            suggestion = f"use `{name}=None` and make the value inside the function"
            yield _issue("mutable-default", default, f"the default of {name!r} is shared by all calls", suggestion)


def default_values(node: FunctionNode) -> list[tuple[str, ast.expr]]:
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    pairs = list(zip(positional[len(positional) - len(given.defaults) :], given.defaults, strict=True))
    named = [(a, d) for a, d in zip(given.kwonlyargs, given.kw_defaults, strict=True) if d is not None]
    return [(argument.arg, default) for argument, default in [*pairs, *named]]


def is_mutable(node: ast.expr) -> bool:
    if isinstance(node, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)):
        return True
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _MUTABLE_CALLS


def _comparison(node: ast.Compare) -> Iterator[Issue]:
    sides = [node.left, *node.comparators]
    for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
        values = [side.value for side in (left, right) if isinstance(side, ast.Constant)]
        word = "is" if isinstance(operator, ast.Eq) else "is not"
        if isinstance(operator, (ast.Eq, ast.NotEq)) and any(value is None for value in values):
            yield _issue("none-comparison", node, "None is compared by value", f"write `{word} None`")
        elif isinstance(operator, (ast.Eq, ast.NotEq)) and any(value is True or value is False for value in values):
            yield _issue("bool-comparison", node, "a truth value is compared with True or False")
        elif isinstance(operator, (ast.Is, ast.IsNot)) and any(
            isinstance(v, str | int | float | bytes) and not isinstance(v, bool) for v in values
        ):
            yield _issue("literal-identity", node, "identity with a literal depends on the interpreter")


def _call(node: ast.Call) -> Iterator[Issue]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in _DYNAMIC:
        yield _issue("dynamic-code", node, f"`{name}` runs whatever its text says")
    for keyword in node.keywords:
        if keyword.arg == "shell" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True:
            yield _issue("shell-command", node, "the command goes through a shell")


def _import_from(node: ast.ImportFrom) -> Iterator[Issue]:
    if any(alias.name == "*" for alias in node.names):
        yield _issue("star-import", node, f"nobody can tell what `from {node.module or '.'} import *` brings")


def _assert(node: ast.Assert) -> Iterator[Issue]:
    if isinstance(node.test, ast.Tuple) and node.test.elts:
        yield _issue("assert-on-tuple", node, "a tuple is always true: this assertion never fails")


def _f_string(node: ast.JoinedStr) -> Iterator[Issue]:
    if not any(isinstance(value, ast.FormattedValue) for value in node.values):
        yield _issue("f-string-without-field", node, "an f-string without a field in it")


def _dict(node: ast.Dict) -> Iterator[Issue]:
    seen: set[tuple[type, object]] = set()
    for key in node.keys:
        if isinstance(key, ast.Constant):
            identity = (type(key.value), key.value)
            if identity in seen:
                yield _issue("repeated-key", key, "a key appears twice in a dictionary: the first value is lost")
            seen.add(identity)


def _global(node: ast.Global) -> Iterator[Issue]:
    yield _issue("global-state", node, f"a function changes the global {', '.join(node.names)}")


_CHECKS: Final[dict[type[ast.AST], tuple[Callable[..., Iterator[Issue]], ...]]] = {
    ast.ExceptHandler: (_handler,),
    ast.FunctionDef: (_defaults,),
    ast.AsyncFunctionDef: (_defaults,),
    ast.Compare: (_comparison,),
    ast.Call: (_call,),
    ast.ImportFrom: (_import_from,),
    ast.Assert: (_assert,),
    ast.JoinedStr: (_f_string,),
    ast.Dict: (_dict,),
    ast.Global: (_global,),
}


# --- blocks, functions, modules ---


def _unreachable(block: list[ast.stmt]) -> Iterator[Issue]:
    for before, after in itertools.pairwise(block):
        if isinstance(before, _ENDS):
            word = type(before).__name__.lower()
            yield _issue("unreachable-code", after, f"nothing gets past the `{word}` in line {before.lineno}")
            return


def _of_function(function: Function, limits: Limits) -> Iterator[Issue]:
    node, name = function.node, function.qualname
    complexity = cyclomatic(node)
    if complexity > limits.complexity:
        text = f"{name} has a cyclomatic complexity of {complexity}, over {limits.complexity}"
        issue = _issue("complex-function", node, text)
        yield issue._replace(severity=HIGH) if complexity > 2 * limits.complexity else issue
    if function.lines > limits.lines:
        text = f"{name} has {function.lines} lines, over {limits.lines}"
        yield _issue("long-function", node, text)
    arguments = [n for n in argument_names(node) if n not in {"self", "cls"}]
    if len(arguments) > limits.arguments:
        text = f"{name} takes {len(arguments)} arguments, over {limits.arguments}"
        yield _issue("many-arguments", node, text)
    depth = nesting(node)
    if depth > limits.depth:
        text = f"{name} nests blocks {depth} deep, over {limits.depth}"
        yield _issue("deep-nesting", node, text)
    if not node.name.startswith("_") and not function.nested and ast.get_docstring(node, clean=False) is None:
        yield _issue("missing-docstring", node, f"{name} has no docstring")
    shadowed = sorted({n.lstrip("*") for n in arguments} & _SHADOWED)
    if shadowed and not function.in_class:
        text = f"{name} hides the built-in {', '.join(shadowed)}"
        yield _issue("shadowed-builtin", node, text)


def unused_imports(tree: ast.Module) -> Iterator[Issue]:
    """Yields names that the module imports at its top and never mentions, not even in a string."""
    imported = [
        (alias, node)
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")
    ]
    if not imported:
        return
    names = used_names(tree)
    for alias, node in imported:
        name = (alias.asname or alias.name).split(".")[0]
        if alias.name != "*" and name not in names and alias.asname != alias.name:
            yield _issue("unused-import", node, f"{name!r} is imported and not used")


def used_names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.update(re.findall(r"\w+", node.value))
    return names


def _redefined(tree: ast.Module) -> Iterator[Issue]:
    """Yields plain functions and classes that another one of the same name replaces in the same block."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        seen: dict[str, int] = {}
        for statement in body if isinstance(body, list) else []:
            if not isinstance(statement, SCOPES):
                continue
            if statement.name in seen and not statement.decorator_list:
                text = f"{statement.name} replaces the one in line {seen[statement.name]}"
                yield _issue("redefined-name", statement, text)
            if not statement.decorator_list:
                seen[statement.name] = statement.lineno
