"""The review of Python source: on hand-made cases, on the standard library, and on what is no Python."""

from __future__ import annotations

import ast
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from agentflow_common.errors import InvalidError
from agentflow_worker.builtins.code import fixes
from agentflow_worker.builtins.code.complexity import cyclomatic
from agentflow_worker.context import StepContext
from agentflow_worker.invoke import invoke
from agentflow_worker.registry import default_registry
from agentflow_worker.settings import WorkerSettings

REGISTRY = default_registry()
LIBRARY = sorted(Path(os.__file__).parent.glob("*.py"))


async def call(name: str, **args: Any) -> Any:
    made = await invoke(REGISTRY.get("function", name), args, StepContext("o", "r", "s", 1, WorkerSettings()))
    json.dumps(made)
    return made


def measure(body: str) -> int:
    source = "def f():\n" + "".join(f"    {line}\n" for line in body.splitlines())
    return cyclomatic(ast.parse(source).body[0])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pass", 1),
        ("if a:\n  pass", 2),
        ("if a:\n  pass\nelse:\n  pass", 2),
        ("if a:\n  pass\nelif b:\n  pass\nelif c:\n  pass\nelse:\n  pass", 4),
        ("if a and b or c:\n  pass", 4),
        ("x = a and b and c", 3),
        ("return not a", 1),
        ("for x in y:\n  if x:\n    break\nelse:\n  pass", 3),
        ("while a:\n  pass\nelse:\n  pass", 2),
        ("try:\n  pass\nexcept A:\n  pass\nexcept B:\n  pass\nelse:\n  pass\nfinally:\n  pass", 3),
        ("try:\n  pass\nexcept* A:\n  pass", 2),
        ("with a, b:\n  pass", 1),
        ("assert a, b", 2),
        ("return 1 if a else 2 if b else 3", 3),
        ("return [x for x in y if x if z for w in x]", 5),
        ("return {k: v for k, v in d}", 2),
        ("return lambda x: 1 if x else 2", 2),
        ("match a:\n  case 1:\n    pass\n  case 2 | 3:\n    pass\n  case _:\n    pass", 3),
        ("match a:\n  case [x] if x:\n    pass\n  case y if y > 1:\n    pass\n  case {'k': v}:\n    pass", 5),
        ("match a:\n  case 1 | _:\n    pass", 1),
        ("def inner():\n  if a:\n    pass\nclass C:\n  x = 1 if a else 2", 1),
        ("async def inner():\n  async for x in y:\n    pass\nreturn inner", 1),
    ],
)
def test_cyclomatic_complexity_counts_decisions(body: str, expected: int) -> None:
    assert measure(body) == expected


MIXED = """
import os, sys
import json as js
from typing import *
class Ä:
    @property
    async def größe(self, *args, flag=[], **kw):
        def inner(x={}):
            return x == None
        try:
            return f"nothing"
        except:
            pass
        return 1
        print("never")
    @staticmethod
    def über(a, /, b, *, c): ...
def f(list, n=1):
    global counter
    match n:
        case 1: return eval("1")
        case _: return {"a": 1, "a": 2}
def f(): assert (1, "x")
if js is "text": pass
"""


async def test_functions_of_every_kind_are_found() -> None:
    made = await call("code.extract_functions", code=MIXED)
    assert [item["name"] for item in made["functions"]] == ["Ä.größe", "Ä.größe.inner", "Ä.über", "f", "f"]
    big, inner, static = made["functions"][:3]
    assert (big["async"], big["method"], big["nested"], big["decorators"]) == (True, True, False, ["property"])
    assert big["arguments"] == ["self", "*args", "flag", "**kw"]
    assert (inner["nested"], inner["method"]) == (True, False)
    assert (static["arguments"], static["decorators"]) == (["a", "b", "c"], ["staticmethod"])
    measured = await call("code.complexity", code=MIXED)
    assert {item["name"]: item["complexity"] for item in measured["complexity"]}["Ä.größe"] == 2


async def test_issues_are_found_where_they_are_and_nowhere_else() -> None:
    made = await call("code.detect_issues", code=MIXED)
    found = {(issue["rule"], issue["line"]) for issue in made["issues"] if issue["rule"] != "missing-docstring"}
    assert found == {
        ("unused-import", 2), ("star-import", 4), ("mutable-default", 7), ("mutable-default", 8),
        ("none-comparison", 9), ("f-string-without-field", 11), ("bare-except", 12), ("swallowed-error", 12),
        ("unreachable-code", 15), ("shadowed-builtin", 18), ("global-state", 19), ("dynamic-code", 21),
        ("repeated-key", 22), ("redefined-name", 23), ("assert-on-tuple", 23), ("literal-identity", 24),
    }  # fmt: skip
    clean = 'def add(a: int, b: int) -> int:\n    """The sum."""\n    return a + b\n'
    assert (await call("code.detect_issues", code=clean))["issues"] == []


async def test_improvements_go_by_severity_and_keep_layout_and_comments() -> None:
    code = MIXED
    rounds = []
    while (made := await call("code.improve", code=code))["applied"]:
        rounds.append({item["rule"] for item in made["applied"]})
        code = made["code"]
    assert rounds == [
        {"bare-except", "mutable-default", "literal-identity"}, {"none-comparison"},
        {"f-string-without-field", "unused-import"},
    ]  # fmt: skip
    assert "except Exception:" in code
    assert "            if x is None:\n                x = {}\n            return x is None" in code
    assert "flag=None, **kw):\n        if flag is None:\n            flag = []\n" in code
    assert 'return "nothing"' in code
    assert "import os" not in code
    assert 'if js == "text"' in code
    assert (await call("code.detect_issues", code=code))["fixable"] == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def f(x=[]): return x\n", None),
        ('def f(x=[]):\n    """Doc."""\n', 'def f(x=None):\n    """Doc."""\n    if x is None:\n        x = []\n'),
        ('def f(x=[]):\n    """Doc."""', 'def f(x=None):\n    """Doc."""\n    if x is None:\n        x = []\n'),
        ("def f(\n    x=[],  # why\n):\n\tpass\n",
         "def f(\n    x=None,  # why\n):\n\tif x is None:\n\t    x = []\n\tpass\n"),
        ("def f(x={}, y=set()):\n  return x\n",
         "def f(x=None, y=None):\n  if x is None:\n      x = {}\n  if y is None:\n      y = set()\n  return x\n"),
    ],
)  # fmt: skip
def test_a_mutable_default_moves_into_the_function(before: str, after: str | None) -> None:
    made, _ = fixes.apply(before, "mutable-default")
    assert made == (after or before)


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        ("none-comparison", "é = 'ü'; x = (é) == None != y  # == None\n",
         "é = 'ü'; x = (é) is None is not y  # == None\n"),
        ("none-comparison", 'print(f"{x == None}")\n', None),
        ("none-comparison", "x == '==' == None\r\ny = 1\r\n", "x == '==' is None\r\ny = 1\r\n"),
        ("f-string-without-field", "x = f'{{}}' + rf'a\\d' + Rf'b'\n", "x = f'{{}}' + r'a\\d' + R'b'\n"),
        ("f-string-without-field", "x = 'a' f'b'\n", None),
        ("unused-import", "import a\nimport b  # kept for c\nfrom d import (\n  e,\n)\n",
         "import b  # kept for c\nfrom d import (\n  e,\n)\n"),
        ("unused-import", "import a.b\nimport a.c as d\n__all__ = ['a']\n", "import a.b\n__all__ = ['a']\n"),
        ("unused-import", "try:\n    import a\nexcept ImportError:\n    a = None\n", None),
        ("literal-identity", "x is  not 'a' is y\n", "x != 'a' == y\n"),
        ("bare-except", "try: pass\nexcept : pass\n", "try: pass\nexcept Exception : pass\n"),
    ],
)  # fmt: skip
def test_an_edit_changes_what_it_names_and_nothing_else(rule: str, before: str, after: str | None) -> None:
    made, lines = fixes.apply(before, rule)
    assert made == (after or before)
    assert bool(lines) is (after is not None)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(:\n", "line 1, column"),
        ("x = 1\n  y = 2\n", "line 2"),
        ("print 'old'\n", "line 1"),
        ("x = '\x00'\n", "null bytes"),
        ("x = '\ud800'\n", "not valid Python"),
        ("(" * 500 + ")" * 500, "nested"),
        ("-" * 100_000 + "1", "nested too deeply"),
        ("x" * 1_000_001, "the limit is"),
        ("async with a: pass\nmatch x:\n  cas 1: pass", "line 3"),
    ],
)
@pytest.mark.parametrize("name", ["code.extract_functions", "code.complexity", "code.detect_issues", "code.improve"])
async def test_what_is_not_python_is_told_with_its_line(name: str, code: str, said: str) -> None:
    with pytest.raises(InvalidError) as caught:
        await call(name, code=code)
    assert said in caught.value.message


@pytest.mark.parametrize("code", ["", "\n\n", "# nothing\n", "\ufeffx = 1\n", "'only a docstring'"])
async def test_a_file_without_functions_is_a_result(code: str) -> None:
    extracted = await call("code.extract_functions", code=code)
    assert (extracted["functions"], extracted["function_count"]) == ([], 0)
    assert (await call("code.complexity", code=code))["highest_complexity"] == 1
    found = await call("code.detect_issues", code=code)
    assert found["issues"] == []
    assert (await call("code.score", issues=[], code_lines=extracted["code_lines"]))["quality_score"] == 1.0
    assert (await call("code.improve", code=code))["applied"] == []


async def test_the_score_falls_with_the_density_of_flaws() -> None:
    issues = [{"severity": "high"}, {"severity": "medium"}, {"severity": "low"}]
    assert (await call("code.score", issues=issues, code_lines=150))["quality_score"] == 0.9
    assert (await call("code.score", issues=issues, code_lines=1))["quality_score"] == 0.25
    assert (await call("code.score", issues=issues * 50, code_lines=10))["quality_score"] == 0


async def test_suggestions_name_each_rule_once_the_worst_first() -> None:
    found = (await call("code.detect_issues", code=MIXED))["issues"]
    made = (await call("code.suggest", issues=found))["suggestions"]
    assert [item["severity"] for item in made] == sorted([i["severity"] for i in made], key="high medium low".index)
    assert next(item for item in made if item["rule"] == "mutable-default")["lines"] == [7, 8]


@pytest.mark.parametrize("path", random.Random(3).sample(LIBRARY, 40), ids=lambda path: path.name)
async def test_any_real_file_is_reviewed_and_stays_valid_when_it_is_improved(path: Path) -> None:
    code = path.read_text(errors="replace")
    tree = ast.parse(code)
    names = [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    extracted = await call("code.extract_functions", code=code)
    assert sorted(item["name"].rsplit(".", 1)[-1] for item in extracted["functions"]) == sorted(names)
    assert all(item["complexity"] >= 1 for item in (await call("code.complexity", code=code))["complexity"])
    found = await call("code.detect_issues", code=code)
    assert all(1 <= issue["line"] <= code.count("\n") + 1 for issue in found["issues"])
    if found["fixable"]:
        made = await call("code.improve", code=code)
        assert made["applied"]
        compile(made["code"], path.name, "exec", dont_inherit=True)
        after = await call("code.detect_issues", code=made["code"])
        assert after["fixable"] < found["fixable"]
        assert after["issue_count"] <= found["issue_count"]
