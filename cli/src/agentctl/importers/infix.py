"""The reader of infix expressions, as JavaScript, jq, JSONata and Argo write them. Pure.

They agree on names, literals, operators and calls. What a name means is for the engine to say: it gives `resolve`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agentctl.importers.expression import Expr, Fields, Items, Joined, Literal, Op, UntranslatableError

CHARS_MAX: Final = 4_096
DEPTH_MAX: Final = 40
_TOKEN: Final = re.compile(
    r"""\s*(?:
    (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
  | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
  | (?P<name>\$*[A-Za-z_][A-Za-z0-9_]*|\$+)
  | (?P<sign>===|!==|==|!=|<=|>=|&&|\|\||\?\?|\?\.|//|<>|[-+*/%<>=!?:.,()\[\]{}|&@])
    )""",
    re.VERBOSE,
)
_POWER: Final = {
    "|": 1, "?": 2, "//": 3, "??": 3, "or": 4, "||": 4, "and": 5, "&&": 5, "in": 6,
    "==": 6, "!=": 6, "===": 6, "!==": 6, "=": 6, "<>": 6, "<": 7, "<=": 7, ">": 7, ">=": 7,
    "&": 8, "+": 8, "-": 8, "*": 9, "/": 9, "%": 9,
}  # fmt: skip
_SAME: Final = {"===": "==", "!==": "!=", "=": "==", "<>": "!=", "&&": "and", "||": "or", "//": "first", "??": "first"}
_WORDS: Final = {"true": True, "false": False, "null": None, "nil": None, "undefined": None}

Parts = tuple[str | int, ...]
Call = Callable[..., Expr]


@dataclass(frozen=True)
class Dialect:
    """How an engine writes expressions."""

    resolve: Callable[[str, Parts], Expr]
    """Returns the meaning of a name and the parts behind it. `.a.b` of jq is the name `.` and the parts a, b."""

    calls: Mapping[str, Call] = field(default_factory=dict)
    """Functions and methods by name; a method gets its value first."""

    fields: Mapping[str, str] = field(default_factory=dict)
    """Fields that are operations, such as `length` of JavaScript."""

    jq: bool = False
    """True: `"\\(.x)"` is computed, and `|` gives a value to a function."""


def parse(text: str, dialect: Dialect) -> Expr:
    """Returns the expression of a text. Raises UntranslatableError if it uses more than this reader knows."""
    if len(text) > CHARS_MAX:
        raise UntranslatableError(f"the expression is longer than {CHARS_MAX:,} characters")
    reader = _Reader(text, dialect)
    found = reader.expression(0)
    if reader.kind:
        raise UntranslatableError(f"{reader.word!r} is not understood")
    return found


class _Reader:
    def __init__(self, text: str, dialect: Dialect) -> None:
        self._text = text
        self._dialect = dialect
        self._position = self._depth = 0
        self.kind = self.word = ""
        self._next()

    def _next(self) -> str:
        """Moves on, and returns the word that was left."""
        before, rest = self.word, self._text[self._position :]
        match = _TOKEN.match(rest)
        if match is None:
            if rest.strip():
                raise UntranslatableError(f"{rest.strip()[:20]!r} is not understood")
            self.kind, self.word = "", ""
            return before
        self._position += match.end()
        self.kind = match.lastgroup or ""
        self.word = match[self.kind]
        return before

    def _take(self, sign: str) -> bool:
        if self.kind == "text" or self.word != sign:
            return False
        self._next()
        return True

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise UntranslatableError(f"{sign!r} is missing before {self.word or 'the end'!r}")

    def expression(self, power: int) -> Expr:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise UntranslatableError("it is nested too deeply")
        left = self._unary()
        while self.kind in {"sign", "name"} and _POWER.get(self.word, 0) > power:
            left = self._infix(left, self._next())
        self._depth -= 1
        return left

    def _infix(self, left: Expr, sign: str) -> Expr:
        if sign == "?":
            yes = self.expression(0)
            self._expect(":")
            return Op("if", (left, yes, self.expression(1)))
        if sign == "|":
            return self._pipe(left)
        right = self.expression(_POWER[sign])
        if sign == "&" or (sign == "+" and (_is_text(left) or _is_text(right))):
            return Joined((*_parts(left), *_parts(right)))
        if sign == "+" and isinstance(left, Fields) and isinstance(right, Fields):
            return Fields(tuple({**dict(left.fields), **dict(right.fields)}.items()))
        if sign == "+" and (isinstance(left, Fields) or isinstance(right, Fields)):
            raise UntranslatableError("a template can't merge objects")
        return Op(_SAME.get(sign, sign), (left, right))

    def _pipe(self, left: Expr) -> Expr:
        if not self._dialect.jq or self.kind != "name":
            raise UntranslatableError("`|` is not understood here")
        name = self._next()
        arguments = self._arguments() if self.word == "(" else []
        return self._call(name, [left, *arguments])

    def _unary(self) -> Expr:
        if self._take("!") or (self.word == "not" and not self._dialect.jq and self._take("not")):
            return Op("not", (self.expression(_POWER["%"]),))
        if self._take("-"):
            inner = self.expression(_POWER["%"])
            return Literal(-inner.value) if isinstance(inner, Literal) else Op("neg", (inner,))
        return self._primary()

    def _primary(self) -> Expr:  # noqa: PLR0911  (a table of cases)
        if self.kind == "number":
            word = self._next()
            return self._behind(Literal(float(word) if set(word) & set(".eE") else int(word)))
        if self.kind == "text":
            return self._behind(self._string(self._next()))
        if self._take("("):
            inner = self.expression(0)
            self._expect(")")
            return self._behind(inner)
        if self._take("["):
            return self._behind(Items(tuple(self._listed("]"))))
        if self._take("{"):
            return self._object()
        if self.kind == "sign" and self.word == ".":
            return self._place(".", first=True)
        if self.kind == "name":
            name = self._next()
            if name in _WORDS:
                return Literal(_WORDS[name])
            if self.word == "(":
                return self._behind(self._call(name, self._arguments()))
            return self._place(name)
        raise UntranslatableError(f"{self.word or 'the end'!r} is not understood")

    def _place(self, root: str, *, first: bool = False) -> Expr:
        """Reads the parts behind a name, then the methods behind them."""
        parts: list[str | int] = []
        while self.word in {".", "?.", "["} and self.kind == "sign":
            if self._take("["):
                key = self.expression(0)
                self._expect("]")
                if not isinstance(key, Literal) or not isinstance(key.value, str | int):
                    raise UntranslatableError("an index that is computed is not understood")
                parts.append(key.value)
                continue
            self._next()
            if first and self.kind == "sign" and self.word == "[":
                continue
            if self.kind not in {"name", "text"}:
                if first and not parts:
                    break  # `.` alone
                raise UntranslatableError(f"{self.word or 'the end'!r} is not understood behind a dot")
            first, is_text = False, self.kind == "text"
            name = self._next()
            if self.word == "(":
                return self._behind(self._call(name, [self._dialect.resolve(root, tuple(parts)), *self._arguments()]))
            if name in self._dialect.fields and (parts or not root.startswith("$")):
                return Op(self._dialect.fields[name], (self._dialect.resolve(root, tuple(parts)),))
            parts.append(name[1:-1] if is_text else name)
        return self._dialect.resolve(root, tuple(parts))

    def _behind(self, found: Expr) -> Expr:
        """Reads methods behind a value that is not a name."""
        while self.word == "." and self.kind == "sign":
            self._next()
            name = self._next()
            if self.word == "(":
                found = self._call(name, [found, *self._arguments()])
            elif name in self._dialect.fields:
                found = Op(self._dialect.fields[name], (found,))
            else:
                raise UntranslatableError(f"the field {name!r} of a computed value is not understood")
        return found

    def _call(self, name: str, arguments: list[Expr]) -> Expr:
        call = self._dialect.calls.get(name)
        if call is None:
            raise UntranslatableError(f"the function {name!r} is not known here")
        try:
            return call(*arguments)
        except TypeError:
            raise UntranslatableError(f"{name!r} has other arguments here") from None

    def _arguments(self) -> list[Expr]:
        self._expect("(")
        return self._listed(")")

    def _listed(self, end: str) -> list[Expr]:
        found: list[Expr] = []
        while not self._take(end):
            found.append(self.expression(0))
            if not self._take(",") and self.word != end:
                raise UntranslatableError(f"{end!r} is missing")
        return found

    def _object(self) -> Expr:
        fields: list[tuple[str, Expr]] = []
        while not self._take("}"):
            if self.kind not in {"name", "text"}:
                raise UntranslatableError("a field whose name is computed is not understood")
            is_text, word = self.kind == "text", self._next()
            name = word[1:-1] if is_text else word
            if self._take(":"):
                fields.append((name, self.expression(_POWER["|"])))
            else:
                fields.append((name, self._dialect.resolve("." if self._dialect.jq else name, (name,))))
            if not self._take(",") and self.word != "}":
                raise UntranslatableError("'}' is missing")
        return Fields(tuple(fields))

    def _string(self, quoted: str) -> Expr:
        body = quoted[1:-1]
        if not self._dialect.jq or r"\(" not in body:
            return Literal(_unescaped(body))
        parts: list[Expr] = []
        while (start := body.find(r"\(")) >= 0:
            parts += [Literal(_unescaped(body[:start]))] if start else []
            end = _closing(body, start + 1)
            parts.append(parse(body[start + 2 : end], self._dialect))
            body = body[end + 1 :]
        return Joined((*parts, *([Literal(_unescaped(body))] if body else [])))


def _closing(text: str, start: int) -> int:
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] == "(") - (text[position] == ")")
        if depth == 0:
            return position
    raise UntranslatableError("')' is missing in a text")


_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}


def _unescaped(body: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), body)


def _is_text(expr: Any) -> bool:
    return isinstance(expr, Joined) or (isinstance(expr, Literal) and isinstance(expr.value, str))


def _parts(expr: Expr) -> tuple[Expr, ...]:
    return expr.parts if isinstance(expr, Joined) else (expr,)
