"""Computes cyclomatic complexity, the number of decisions plus one.

Source: T. J. McCabe, "A Complexity Measure", IEEE TSE 2 (4), 1976.

A decision lets control go two ways:

- `if`, `elif` and a conditional expression;
- each loop, each `except`, and `assert`;
- each `case` that can fail, and each guard;
- each `for` and `if` of a comprehension;
- each further operand of `and` and `or`, as section VII of the paper counts compound conditions.

`else`, `finally` and `with` decide nothing. Nested functions and classes have a complexity of their
own. Lambdas belong to the function around them.
"""

from __future__ import annotations

import ast
from typing import Final

from agentflow_worker.builtins.code.source import own_nodes

_LOOPS: Final = (ast.For, ast.AsyncFor, ast.While)
_ONE: Final = (ast.If, ast.IfExp, *_LOOPS, ast.ExceptHandler, ast.Assert)
RANKS: Final = ((5, "A"), (10, "B"), (20, "C"), (30, "D"), (40, "E"))


def cyclomatic(root: ast.AST) -> int:
    return 1 + sum(map(_decisions, own_nodes(root)))


def _decisions(node: ast.AST) -> int:
    if isinstance(node, _ONE):
        return 1
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    if isinstance(node, ast.match_case):
        return (not _is_irrefutable(node.pattern)) + (node.guard is not None)
    return 0


def _is_irrefutable(pattern: ast.pattern) -> bool:
    """True for `_`, a bare name, and alternatives or captures that end in one."""
    if isinstance(pattern, ast.MatchAs):
        return pattern.pattern is None or _is_irrefutable(pattern.pattern)
    return isinstance(pattern, ast.MatchOr) and any(map(_is_irrefutable, pattern.patterns))


def rank(complexity: int) -> str:
    """Returns a letter from A (simple) to F (untestable)."""
    return next((letter for most, letter in RANKS if complexity <= most), "F")


_BLOCKS: Final = (ast.If, *_LOOPS, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)


def nesting(root: ast.AST) -> int:
    """Returns how deep blocks stand in blocks. An `elif` is as deep as its `if`."""
    deepest = 0
    todo: list[tuple[ast.AST, int]] = [(node, 0) for node in getattr(root, "body", [])]
    while todo:
        node, depth = todo.pop()
        inside = depth + isinstance(node, _BLOCKS)
        deepest = max(deepest, inside)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        is_chain = isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)
        for child in ast.iter_child_nodes(node):
            chained = is_chain and isinstance(node, ast.If) and child is node.orelse[0]
            todo.append((child, depth if chained else inside))
    return deepest
