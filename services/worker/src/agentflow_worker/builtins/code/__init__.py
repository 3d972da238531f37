"""Functions that review Python source: its functions, their complexity, its issues, and which of
them can be fixed.

They read text and give text. None of the source is imported or run. Parameters and fields have
names that fit together as the nodes of a graph with a shared state (examples/code_review.yaml). The
functions get the originals of redacted values, because code with tokens in it might not be valid
Python. Their output is redacted again.
"""

from __future__ import annotations

import ast
import functools
from collections import Counter
from typing import Annotated, Any, Final

from pydantic import Field

from agentflow_worker.builtins.code import fixes, issues
from agentflow_worker.builtins.code.complexity import cyclomatic, nesting, rank
from agentflow_worker.builtins.code.issues import WEIGHTS
from agentflow_worker.builtins.code.source import Function, argument_names, code_lines, functions, parse
from agentflow_worker.invoke import offload
from agentflow_worker.registry import function

ISSUES_MAX: Final = 500
FUNCTIONS_MAX: Final = 2_000
SIZE_MIN: Final = 20  # lines; so one flaw in a very short file does not decide its score
_INLINE_CHARS_MAX: Final = 20_000

Positive = Annotated[int, Field(ge=1, le=100_000)]


async def _run(code: str, call: functools.partial[dict[str, Any]]) -> dict[str, Any]:
    return call() if len(code) <= _INLINE_CHARS_MAX else await offload(call)


@function("code.extract_functions", reveal=("code",))
async def extract_functions(code: str) -> dict[str, Any]:
    """Lists the functions of a Python source, methods, nested and asynchronous ones too.

    Returns {"functions": [{"name", "line", "end_line", "lines", "async", "method", "nested",
    "arguments", "decorators", "docstring": bool}], "function_count", "code_lines"}. InvalidError
    with the line if it is not Python.
    """
    return await _run(code, functools.partial(_extract, code))


def _extract(code: str) -> dict[str, Any]:
    found = functions(parse(code))
    return {
        "functions": [_described(item) for item in found[:FUNCTIONS_MAX]],
        "function_count": len(found),
        "code_lines": code_lines(code),
    }


def _described(item: Function) -> dict[str, Any]:
    node = item.node
    return {
        "name": item.qualname,
        "line": node.lineno,
        "end_line": node.end_lineno,
        "lines": item.lines,
        "async": isinstance(node, ast.AsyncFunctionDef),
        "method": item.in_class,
        "nested": item.nested,
        "arguments": argument_names(node),
        "decorators": [ast.unparse(decorator)[:200] for decorator in node.decorator_list],
        "docstring": ast.get_docstring(node, clean=False) is not None,
    }


@function("code.complexity", reveal=("code",))
async def complexity(code: str) -> dict[str, Any]:
    """Measures the cyclomatic complexity (McCabe) of each function, and of the module's own
    statements as `<module>`.

    Returns {"complexity": [{"name", "line", "complexity", "rank": A..F, "depth"}],
    "highest_complexity", "average_complexity"}.
    """
    return await _run(code, functools.partial(_complexity, code))


def _complexity(code: str) -> dict[str, Any]:
    tree = parse(code)
    measured = [
        {
            "name": item.qualname,
            "line": item.node.lineno,
            "complexity": (value := cyclomatic(item.node)),
            "rank": rank(value),
            "depth": nesting(item.node),
        }
        for item in functions(tree)
    ]
    whole = cyclomatic(tree)
    measured.append({"name": "<module>", "line": 1, "complexity": whole, "rank": rank(whole), "depth": nesting(tree)})
    values = [int(str(item["complexity"])) for item in measured]
    return {
        "complexity": measured[:FUNCTIONS_MAX],
        "highest_complexity": max(values),
        "average_complexity": round(sum(values) / len(values), 2),
    }


@function("code.detect_issues", reveal=("code",))
async def detect_issues(
    code: str,
    complexity_limit: Positive = 10,
    lines_limit: Positive = 60,
    arguments_limit: Positive = 6,
    depth_limit: Positive = 4,
) -> dict[str, Any]:
    """Lists what a reviewer would object to, by line.

    Returns {"issues": [{"rule", "severity": high|medium|low, "line", "message", "suggestion",
    "fixable"}], "issue_count", "fixable": how many `code.improve` could fix}.
    """
    limits = issues.Limits(complexity_limit, lines_limit, arguments_limit, depth_limit)
    return await _run(code, functools.partial(_issues, code, limits))


def _issues(code: str, limits: issues.Limits) -> dict[str, Any]:
    tree = parse(code)
    found = issues.find(tree, functions(tree), limits)
    fixable = {(rule, line) for rule in fixes.FIXES for line in fixes.apply(code, rule, tree)[1]}
    listed = [{**item._asdict(), "fixable": (item.rule, item.line) in fixable} for item in found[:ISSUES_MAX]]
    return {"issues": listed, "issue_count": len(found), "fixable": len(fixable)}


@function("code.score")
async def score(issues: list[dict[str, Any]], code_lines: int = 0, issue_count: int | None = None) -> dict[str, Any]:
    """Scores a source's quality, 0..1: issues weighed by severity (high 5, medium 2, low 0.5) for
    each line of code.

    Returns {"quality_score", "issues_by_severity"}.
    """
    listed = sum(WEIGHTS.get(str(issue.get("severity")), 2.0) for issue in issues)
    unlisted = max(0, (issue_count or 0) - len(issues))
    density = (listed + unlisted) / max(code_lines, SIZE_MIN)
    return {
        "quality_score": round(max(0.0, 1 - 2 * density), 3),
        "issues_by_severity": dict(Counter(str(issue.get("severity")) for issue in issues)),
    }


@function("code.improve", reveal=("code",))
async def improve(code: str) -> dict[str, Any]:
    """Fixes the worst issues that can be fixed without changing what the code means, one severity
    at a call.

    Returns {"code", "applied": [{"rule", "lines"}], "round": 1}. The code stays valid, or stays as
    it was.
    """
    return await _run(code, functools.partial(_improve, code))


def _improve(code: str) -> dict[str, Any]:
    applied: list[dict[str, Any]] = []
    for severity in WEIGHTS:  # the worst first
        for rule in [rule for rule in fixes.FIXES if issues.RULES[rule][0] == severity]:
            code, lines = fixes.apply(code, rule)
            if lines:
                applied.append({"rule": rule, "lines": lines})
        if applied:
            break
    return {"code": code, "applied": applied, "round": 1}


@function("code.suggest")
async def suggest(issues: list[dict[str, Any]], most: Positive = 20) -> dict[str, Any]:
    """Suggests what to do about the issues that are left, the worst first: one suggestion for each
    rule.

    Returns {"suggestions": [{"rule", "severity", "lines", "suggestion", "example"}]}.
    """
    order = {"high": 0, "medium": 1, "low": 2}
    by_rule: dict[str, list[dict[str, Any]]] = {}
    for issue in sorted(issues, key=lambda issue: (order.get(str(issue.get("severity")), 3), int(issue["line"]))):
        by_rule.setdefault(str(issue["rule"]), []).append(issue)
    suggestions = [
        {
            "rule": rule,
            "severity": listed[0].get("severity"),
            "lines": [item["line"] for item in listed][:50],
            "suggestion": listed[0].get("suggestion"),
            "example": listed[0].get("message"),
        }
        for rule, listed in by_rule.items()
    ]
    return {"suggestions": suggestions[:most]}
