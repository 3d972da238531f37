"""Python source as a tree.

Any text that is not Python ends in a clear error. Nothing is imported or run.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agentflow_common.errors import InvalidError

CODE_CHARS_MAX: Final = 1_000_000
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Function:
    """A function or method."""

    qualname: str  # with the classes and functions around it
    node: FunctionNode
    in_class: bool
    nested: bool  # it stands in another function

    @property
    def lines(self) -> int:
        return (self.node.end_lineno or self.node.lineno) - self.node.lineno + 1


def parse(code: str, name: str = "the code") -> ast.Module:
    """Returns the syntax tree. Raises InvalidError with the line and the reason."""
    if len(code) > CODE_CHARS_MAX:
        raise InvalidError(
            f"{name} has {len(code):,} characters, the limit is {CODE_CHARS_MAX:,}: split it", kind="code_too_large"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python would warn of in that code is not ours to print
            return ast.parse(code.removeprefix("\ufeff"))
    except SyntaxError as error:
        where = f"line {error.lineno}, column {error.offset}" if error.lineno else "somewhere"
        raise InvalidError(f"{name} is not valid Python: {where}: {error.msg}", kind="syntax_error") from None
    except (RecursionError, MemoryError):
        raise InvalidError(f"{name} is nested too deeply to be read", kind="syntax_error") from None
    except ValueError as error:
        raise InvalidError(f"{name} is not valid Python: {error}", kind="syntax_error") from None


def functions(tree: ast.Module) -> list[Function]:
    """Returns all functions in the order of their lines: methods, nested and asynchronous ones too."""
    found: list[Function] = []
    todo: list[tuple[ast.AST, tuple[str, ...], bool, bool]] = [(tree, (), False, False)]
    while todo:
        node, path, in_class, nested = todo.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, FunctionNode):
                inner = (*path, child.name)
                found.append(Function(".".join(inner), child, in_class, nested))
                todo.append((child, inner, False, True))
            elif isinstance(child, ast.ClassDef):
                todo.append((child, (*path, child.name), True, nested))
            else:
                todo.append((child, path, in_class, nested))
    return sorted(found, key=lambda function: (function.node.lineno, function.node.col_offset))


def own_nodes(root: ast.AST) -> Iterator[ast.AST]:
    """Yields the nodes of a function's (or a module's) own control flow.

    Nested functions and classes are left out; lambdas and comprehensions are part of it.
    """
    todo: list[ast.AST] = list(getattr(root, "body", []))
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, SCOPES):
            todo.extend(ast.iter_child_nodes(node))


def argument_names(node: FunctionNode) -> list[str]:
    """Returns the names of the arguments as a caller sees them, with `*` and `**`."""
    given = node.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args)]
    if given.vararg:
        names.append(f"*{given.vararg.arg}")
    names.extend(argument.arg for argument in given.kwonlyargs)
    if given.kwarg:
        names.append(f"**{given.kwarg.arg}")
    return names


def code_lines(code: str) -> int:
    """Counts the lines that are neither blank nor a comment."""
    return sum(1 for line in code.splitlines() if line.strip() and not line.lstrip().startswith("#"))
