"""Random templates, references and conditions over names that are there, might be there, or look like Python."""

from __future__ import annotations

import random
from typing import Final

from affuzz.values import NAMES, TEXTS

LITERALS: Final = (
    "1", "0", "-1", "2.5", "1e308", "9007199254740993", "99999999999999999999", "'a'", '"b c"', "''", "none", "true",
    "[]", "{}", "[1, 'a', none]", "{'x': 1, 'items': [2]}", "(1, 2)", "'\\ud83d'", "1e999", "{1: 2}",
)  # fmt: skip
FILTERS: Final = (
    "upper", "lower", "length", "list", "first", "last", "string", "int", "float", "tojson", "join('-')",
    "default('d')", "default(none)", "replace('a', 'b')", "map('upper')", "map(attribute='x')", "selectattr('x')",
    "sort", "unique", "sum", "escape", "trim", "items", "dictsort", "attr('items')", "urlencode", "abs", "round",
    "reverse", "groupby('x')", "max", "map('string') | list", "title", "truncate(5)", "wordcount", "striptags",
    "d('x')", "select", "reject('none')",
)  # fmt: skip
METHODS: Final = (
    "items()", "keys()", "values()", "get('x')", "get('x', 1)", "upper()", "split('a')", "count(1)", "index('a')",
    "append(1)", "pop()", "format(1)", "__class__()", "startswith('a')", "replace('a', 'b')", "strip()", "mro()",
)  # fmt: skip
OPERATORS: Final = ("+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">", "and", "or", "in", "is not", "not in")
TESTS: Final = ("defined", "none", "string", "mapping", "number", "sequence", "callable", "iterable", "odd")
CEL_LITERALS: Final = (
    "1",
    "0",
    "2.5",
    "'a'",
    "''",
    "true",
    "null",
    "[]",
    "[1, 2]",
    "{'x': 1}",
    "9007199254740993",
    "1u",
)
CEL_OPERATORS: Final = ("==", "!=", "<", ">", "<=", ">=", "&&", "||", "+", "-", "*", "/", "%", "in")


def part(rng: random.Random) -> str:
    luck = rng.random()
    if luck < 0.15:
        return f"[{rng.choice([0, 1, -1, 7])}]"
    if luck < 0.25:
        return f"[{rng.choice(TEXTS[:12])!r}]"
    return "." + rng.choice([name for name in NAMES if name.isidentifier() and name not in {"null", "true", "none"}])


def path(rng: random.Random, names: list[str]) -> str:
    name = rng.choice(names)
    if rng.random() < 0.97:  # what has known parts is refused with others
        if name.endswith(".error"):
            return name + rng.choice(["", ".type", ".message"])
        if name.endswith(".status") or name in {"inputs", "run"}:
            return name
    return name + "".join(part(rng) for _ in range(rng.choice([0, 0, 1, 1, 2, 3])))


def template(rng: random.Random, names: list[str]) -> str:
    luck = rng.random()
    inner = expression(rng, names, rng.choice([0, 1, 2]))
    if luck < 0.6:
        return f"{{{{ {inner} }}}}"
    if luck < 0.7:
        return f"{{% if {inner} %}}yes{{% else %}}{{{{ {path(rng, names)} }}}}{{% endif %}}"
    return f"{rng.choice(['', 'a ', TEXTS[21]])}{{{{ {inner} }}}} {{{{{path(rng, names)}}}}}"


def expression(rng: random.Random, names: list[str], depth: int) -> str:  # noqa: PLR0911  (one for each kind)
    if depth == 0 or rng.random() < 0.3:
        return path(rng, names) if rng.random() < 0.8 else rng.choice(LITERALS)
    inner = expression(rng, names, depth - 1)
    luck = rng.random()
    if luck < 0.3:
        return f"({inner}) | {rng.choice(FILTERS)}"
    if luck < 0.4:
        return f"({inner}).{rng.choice(METHODS)}"
    if luck < 0.5:
        return f"{{'x': {inner}, 'items': [{expression(rng, names, depth - 1)}]}}"
    if luck < 0.6:
        return f"[{inner}, {path(rng, names)}]"
    if luck < 0.65:
        return f"{inner} if {path(rng, names)} else {rng.choice(LITERALS)}"
    if luck < 0.7:
        return f"({inner}) is {rng.choice(TESTS)}"
    if luck < 0.75:
        return f"({inner})[{rng.choice(['1:', ':2', '::-1', '0'])}]"
    if luck < 0.8:
        return f"{inner} or {rng.choice(LITERALS)}"
    return f"({inner} {rng.choice(OPERATORS)} {expression(rng, names, depth - 1)})"


def condition(rng: random.Random, names: list[str], depth: int = 2) -> str:
    """CEL that is meant to be a truth value, most of the time."""
    luck = rng.random()
    if depth and luck < 0.25:
        return f"({condition(rng, names, depth - 1)}) {rng.choice(['&&', '||'])} ({condition(rng, names, depth - 1)})"
    if depth and luck < 0.4:
        return f"!({condition(rng, names, depth - 1)})"
    if luck < 0.55:
        found = path(rng, names)
        return f"has({found})" if "." in found and found[-1] != "]" else f"{found} != null"
    if luck < 0.6:
        return f"{path(rng, names)}.all(y, y != 1)"
    if luck < 0.65:
        return path(rng, names)
    left, right = (path(rng, names) if rng.random() < 0.7 else rng.choice(CEL_LITERALS) for _ in range(2))
    return f"{left} {rng.choice(CEL_OPERATORS[:6] if rng.random() < 0.9 else CEL_OPERATORS)} {right}"
