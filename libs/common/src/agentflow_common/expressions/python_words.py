"""Python's messages about a failed computation, in the terms of JSON and of templates. Pure."""

from __future__ import annotations

import re
from typing import Final

from agentflow_common import json_values

_KINDS: Final = {
    "int": "a number", "float": "a number", "bool": "a boolean", "str": "a text", "list": "a list", "tuple": "a list",
    "dict": "an object", "NoneType": "null", "NullPart": "null", "Part": "null", "generator": "a list",
}  # fmt: skip
_CONVERT: Final = "; `| string`, `| int` and `| float` convert"
_SAYINGS: Final = (
    (re.compile(r"(?:'(\w+)' object|argument of type '(\w+)') is not iterable"), "{0} is not a list"),
    (re.compile(r"unsupported operand type\(s\) for (\S+)(?: or pow\(\))?: '(\w+)' and '(\w+)'"),
     "{0} takes no {1} and {2}" + _CONVERT),
    (re.compile(r"can only concatenate (\w+) \(not \"(\w+)\"\) to \w+"), "+ takes no {0} and {1}" + _CONVERT),
    (re.compile(r"can't multiply sequence by non-int of type '(\w+)'"), "* takes no text or list and {0}" + _CONVERT),
    (re.compile(r"'(\S+)' not supported between instances of '(\w+)' and '(\w+)'"),
     "{1} and {2} can't be compared" + _CONVERT),
    (re.compile(r"bad operand type for unary (\S+): '(\w+)'"), "{0} takes no {1}" + _CONVERT),
    (re.compile(r"type (\w+) doesn't define __round__ method"), "{0} can't be rounded" + _CONVERT),
)  # fmt: skip
_ARTICLE: Final = re.compile(r"\bno (?:a|an) ")


def in_words(error: Exception) -> str:
    """Returns the error's text. For common mistakes it has no names of Python's types."""
    text = json_values.escaped(json_values.without_addresses(str(error)))
    if isinstance(error, ZeroDivisionError):
        return "a division by zero; `a / b if b else 0` asks first"
    if isinstance(error, TypeError):
        for pattern, saying in _SAYINGS:
            if match := pattern.match(text):
                found = [_KINDS.get(group, group) for group in match.groups() if group is not None]
                return _ARTICLE.sub("no ", saying.format(*found))
    return f"{type(error).__name__}: {text}"
