"""Conditions over null, which CEL refuses: reading a field of it, comparing it, negating it. Pure.

A field of null is null, and `has(...)` of one is false. `<`, `<=`, `>` and `>=` with null are false, and null counts as
false where a truth value is needed. So a condition and its negation are never both false, whatever a step returned.
Other computations with null stay errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

STRING: Final = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
BOUND: Final = re.compile(r"\.\s*(?:map|filter|all|exists|exists_one)\s*\(\s*([A-Za-z_]\w*)\s*,")
_HELD: Final = "\x01\\d+\x01"  # a string literal that was put aside
_PATH: Final = rf"[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*(?!\w|\s*\()|\s*\[\s*(?:\d+|{_HELD})\s*\])*"
_HAS: Final = re.compile(rf"(?<![\w.])has\s*\(\s*({_PATH})\s*\)")
_READ: Final = re.compile(rf"(?<![\w.\x01])({_PATH})(?!\w|\s*\()")
_PART: Final = re.compile(r"\.\s*([A-Za-z_]\w*)|\[\s*(\d+)\s*\]|\[\s*\x01(\d+)\x01\s*\]")
_NUMBER: Final = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?u?"
_OPERAND: Final = rf"(?:{_NUMBER}|{_HELD}|{_PATH})"
_BEFORE: Final = r"(?<![\w.)\]\x01])(?<![-+*/%])(?<![-+*/%] )"
_AFTER: Final = r"(?![\w\x01]|\s*[-+*/%.\[(])"
_ORDER: Final = re.compile(
    rf"{_BEFORE}null\s*(?:<=|>=|<|>)\s*{_OPERAND}{_AFTER}|{_BEFORE}{_OPERAND}\s*(?:<=|>=|<|>)\s*null{_AFTER}"
)
_TRUTH: Final = re.compile(r"(^\s*|&&\s*|\|\|\s*|!\s*|(?<!\w)\(\s*)null(?=\s*(?:&&|\|\||\?|\)|$))")


def rewritten(text: str, variables: Mapping[str, Any]) -> str:
    """Returns the condition with each path that reads null replaced by `null`.

    `has` of a part of null, comparisons with null and truth values of null are replaced by `false`. A condition that
    reads no null is returned unchanged.
    """
    strings: list[str] = []

    def put_aside(match: re.Match[str]) -> str:
        strings.append(match[0])
        return f"\x01{len(strings) - 1}\x01"

    short = STRING.sub(put_aside, text)
    names = {name: value for name, value in variables.items() if name not in set(BOUND.findall(short))}

    def asked(match: re.Match[str]) -> str:
        return "false" if _is_null(match[1], names, strings, inside=True) else f"\x02{match[1]}\x03"

    def read(match: re.Match[str]) -> str:
        return "null" if _is_null(match[1], names, strings) else match[0]

    parts = re.split("(\x02[^\x03]*\x03)", _HAS.sub(asked, short))  # the argument of `has` stays as it is
    short = "".join(f"has({part[1:-1]})" if part[:1] == "\x02" else _READ.sub(read, part) for part in parts)
    for pattern, word in ((_ORDER, "false"), (_TRUTH, r"\g<1>false")):
        before = ""
        while before != short:
            before, short = short, pattern.sub(word, short)
    return re.sub("\x01(\\d+)\x01", lambda match: strings[int(match[1])], short)


def _is_null(path: str, variables: Mapping[str, Any], strings: list[str], *, inside: bool = False) -> bool:
    """True if the path reads null or a part of null. inside: only a part of null counts."""
    name = re.match(r"\w+", path)
    if name is None or name[0] not in variables:
        return False
    value = variables[name[0]]
    for field, number, literal in _PART.findall(path[name.end() :]):
        if value is None:
            return True
        key: Any = field or (int(number) if number else strings[int(literal)][1:-1])
        if isinstance(value, Mapping):
            if key not in value:
                return False
            value = value[key]
        elif isinstance(value, list | tuple) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return False
    return value is None and not inside
