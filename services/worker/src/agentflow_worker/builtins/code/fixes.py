"""Changes that a reviewer makes without asking.

They keep the meaning of the code, its comments and its layout.

Each is an edit of the text at the place that the tree names. After each the text is parsed again;
an edit that would break it is left out.
"""

from __future__ import annotations

import ast
import bisect
import copy
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from agentflow_common.errors import InvalidError
from agentflow_worker.builtins.code.issues import default_values, is_mutable, used_names
from agentflow_worker.builtins.code.source import FunctionNode, parse

ROUND_MAX: Final = 500  # changes of one round
SINGLE_MAX: Final = 50


class Edit(NamedTuple):
    """Replaces bytes start..end of the UTF-8 text. line: 1-based."""

    start: int
    end: int
    text: bytes
    line: int


class Text:
    """Source as bytes, because a tree counts columns in UTF-8."""

    def __init__(self, code: str) -> None:
        self.code = code.removeprefix("\ufeff")
        self.data = self.code.encode()
        self._starts = [0]
        for line in self.data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column

    def start(self, node: ast.AST) -> int:
        return self.at(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        return self.at(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def line(self, number: int) -> bytes:
        return self.data[self._starts[number - 1] : self._starts[number]]


def apply(code: str, rule: str, tree: ast.Module | None = None) -> tuple[str, list[int]]:
    """Returns the code with the rule's changes, and the lines of the changes; unchanged if there is
    nothing to do.

    tree: of this code, if it is at hand.
    """
    tree = tree or parse(code)
    text = Text(code)
    groups = _disjoint(FIXES[rule](tree, text))
    if not groups:
        return code, []
    changed = _parsed(text, groups)
    if changed is None:  # one of them breaks it: find out which
        groups = [group for group in groups[:SINGLE_MAX] if _parsed(text, [group]) is not None]
        changed = _parsed(text, groups)
    if changed is None or not groups:
        return code, []
    return changed, sorted({edit.line for group in groups for edit in group})


def _disjoint(groups: Iterator[list[Edit]]) -> list[list[Edit]]:
    """Returns the groups that don't overlap, at most ROUND_MAX; insertions at one place follow each other."""
    taken: list[tuple[int, int]] = []
    chosen: list[list[Edit]] = []
    for group in groups:
        if all(_fits(taken, edit) for edit in group):
            for edit in group:
                bisect.insort(taken, (edit.start, edit.end))
            chosen.append(group)
            if len(chosen) == ROUND_MAX:
                break
    return chosen


def _fits(taken: list[tuple[int, int]], edit: Edit) -> bool:
    at = bisect.bisect(taken, (edit.start, edit.end))
    return (at == 0 or taken[at - 1][1] <= edit.start) and (at == len(taken) or taken[at][0] >= edit.end)


def _parsed(text: Text, groups: list[list[Edit]]) -> str | None:
    """Returns the code after these edits; None if it could not be read then."""
    data = text.data
    edits = list(enumerate(edit for group in groups for edit in group))
    for _, edit in sorted(edits, key=lambda item: (item[1].start, item[1].end, item[0]), reverse=True):
        data = data[: edit.start] + edit.text + data[edit.end :]
    try:
        changed = data.decode()
        parse(changed)
    except (InvalidError, UnicodeDecodeError):
        return None
    return changed


Fix = Callable[[ast.Module, Text], Iterator[list[Edit]]]


def _operators(pairs: dict[type[ast.cmpop], tuple[bytes, bytes]], wanted: Callable[[ast.expr], bool]) -> Fix:
    """Replaces an operator if one of its two operands is wanted."""

    def fix(tree: ast.Module, text: Text) -> Iterator[list[Edit]]:
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Compare) or id(node) in inside:  # places inside f-strings are not reliable
                continue
            sides = [node.left, *node.comparators]
            for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
                if type(operator) not in pairs or not (wanted(left) or wanted(right)):
                    continue
                old, new = pairs[type(operator)]
                start, end = text.end(left), text.start(right)
                between = text.data[start:end]
                match = re.search(rb"(?<![\w#])" + old + rb"(?!\w)", between)
                if match and b"#" not in between and b"\n" not in between:
                    replaced = between[: match.start()] + new + between[match.end() :]
                    yield [Edit(start, end, replaced, node.lineno)]

    return fix


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in {str, int, float, bytes}


def _bare_excepts(tree: ast.Module, text: Text) -> Iterator[list[Edit]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            start = text.start(node)
            match = re.match(rb"except(?=\s*:)", text.data[start:])
            if match:
                yield [Edit(start, start + match.end(), b"except Exception", node.lineno)]


def _f_strings(tree: ast.Module, text: Text) -> Iterator[list[Edit]]:
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    nested = {id(part) for node in strings for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        if (
            not isinstance(node, ast.JoinedStr)
            or id(node) in nested
            or any(isinstance(v, ast.FormattedValue) for v in node.values)
        ):
            continue
        source = text.data[text.start(node) : text.end(node)]
        match = re.match(rb"([rR]?)[fF]([rR]?)(?=[\"'])", source)
        if match and not re.search(rb"[{}]", source):
            start = text.start(node)
            yield [Edit(start, start + match.end(), match[1] + match[2], node.lineno)]


def _mutable_defaults(tree: ast.Module, text: Text) -> Iterator[list[Edit]]:
    for node in ast.walk(tree):
        if not isinstance(node, FunctionNode):
            continue
        has_docstring = ast.get_docstring(node, clean=False) is not None
        first = node.body[0]
        last_head = max([node.lineno, *(d.end_lineno or 0 for _, d in default_values(node))])
        indent = text.line(first.lineno)[: first.col_offset]
        if first.lineno <= last_head or indent.strip():
            continue  # the body stands on the line of the head
        place = text.at((first.end_lineno or first.lineno) + 1, 0) if has_docstring else text.at(first.lineno, 0)
        if has_docstring and text.data[text.end(first) : place].strip():
            continue
        if isinstance(first, FunctionNode | ast.ClassDef) and first.decorator_list:
            place = text.at(first.decorator_list[0].lineno, 0)
        for name, default in default_values(node):
            if is_mutable(default) and default.lineno == default.end_lineno:
                value = text.data[text.start(default) : text.end(default)]
                gap = b"" if not has_docstring or text.data[:place].endswith(b"\n") else b"\n"
                guard = gap + indent + b"if %s is None:\n" % name.encode() + indent + b"    %s = " % name.encode()
                yield [
                    Edit(text.start(default), text.end(default), b"None", default.lineno),
                    Edit(place, place, guard + value + b"\n", default.lineno),
                ]


def _imports(tree: ast.Module, text: Text) -> Iterator[list[Edit]]:
    names = used_names(tree)
    for node in tree.body:
        if not isinstance(node, ast.Import | ast.ImportFrom) or node.lineno != node.end_lineno:
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            continue
        kept = [a for a in node.names if a.name in ("*", a.asname) or (a.asname or a.name).split(".")[0] in names]
        alone = text.line(node.lineno).strip() == text.data[text.start(node) : text.end(node)]
        if len(kept) == len(node.names) or not alone:
            continue
        if kept:
            fewer = copy.copy(node)
            fewer.names = kept
            yield [Edit(text.start(node), text.end(node), ast.unparse(fewer).encode(), node.lineno)]
        else:
            yield [Edit(text.at(node.lineno, 0), text.at(node.lineno + 1, 0), b"", node.lineno)]


FIXES: Final[dict[str, Fix]] = {
    "bare-except": _bare_excepts,
    "mutable-default": _mutable_defaults,
    "literal-identity": _operators({ast.Is: (b"is", b"=="), ast.IsNot: (rb"is\s+not", b"!=")}, _is_literal),
    "none-comparison": _operators({ast.Eq: (b"==", b"is"), ast.NotEq: (b"!=", b"is not")}, _is_none),
    "unused-import": _imports,
    "f-string-without-field": _f_strings,
}
