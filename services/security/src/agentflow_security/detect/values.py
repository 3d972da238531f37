"""The start and end of an assigned value: quotes, escapes, and special characters in a bare word.

Pure. A bare value ends at a blank. It also ends at a sign of the text around it: `&next=` of a
form, `</tag>`, `;Database=` of a connection string, a bracket that was opened before it. The same
signs inside a value are part of it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

CHARS_MAX: Final = 1024  # of a quoted value
_PAIRS: Final = {
    '"': '"', "'": "'", "`": "`", "\u201e": "\u201c\u201d", "\u201c": "\u201d\u201c", "\u201d": "\u201d",
    "\u00ab": "\u00bb", "\u00bb": "\u00ab", "\u201a": "\u2018\u2019", "\u2018": "\u2019\u2018", "\u2039": "\u203a",
    "\u203a": "\u2039", "\u300c": "\u300d",
}  # fmt: skip
_CDATA: Final = "<![CDATA["
_KEY: Final = re.compile(r"[^\s\"'`<>,;&|(){}\[\]\\\x00=]{4,512}+={0,2}+")
_PASSWORD: Final = re.compile(r"[^\s\"'`<>;&(){}\[\]\\\x00]{4,256}+")
_TAG: Final = (
    r"(?:a|b|i|p|u|br|td|tr|th|hr|li|ul|ol|dl|dt|dd|em|h[1-6]|div|img|pre|code|span|strong|table|tbody|thead|font|"
    r"input|label|small|script|style|form|button|body|html)\b"
)
_NAME: Final = r"[A-Za-z_][\w.%-]{0,40}"
_PLAIN: Final = r"[^\s\"'`<>;&(){}\[\]\\\x00]*+"
_SPECIAL: Final = (
    rf"&(?![&\s]|(?:amp;)?{_NAME}=|(?:lt|gt|quot|nbsp);|\Z)"
    rf"|<(?!{_TAG})[^\s<>/\"'`\x00]{{1,40}}>(?=[\w!#$%^*?@~+-])"
    rf"|<(?!{_TAG})(?=[^\s<>/\"'`\x00]{{1,64}}(?:\s|\Z))"
    rf"|;(?=[^\s\"'`;<>&}})\x00])(?!{_NAME}[(.:]|[A-Za-z_][\w .%-]{{0,40}}=)"
    r"|\([^\s()\"'`\x00]{0,64}\)|\[[^\s\[\]\"'`\x00]{0,64}\]|\{[^\s{}\"'`\x00]{0,64}\}"
    r"|[(\[{](?=[^\s()\[\]{}\"'`\x00]{1,64}(?:\s|\Z))"
    r"|\\(?![nrtbfu\"'`\\/\s]|\Z)"
)
_HEAD: Final = re.compile(_PLAIN)
_WHOLE: Final = re.compile(rf"{_PLAIN}(?:(?:{_SPECIAL}){_PLAIN})*+")
_WHOLE_APOSTROPHE: Final = re.compile(rf"{_PLAIN}(?:(?:{_SPECIAL}|'(?=\w)){_PLAIN})*+")
_WHOLE_FIELD: Final = re.compile(r"[^\s\"'`<>;&#\\\x00]*+")  # of a form or a URL's query
_FIELD: Final = re.compile(r"[?&;][\w.%\[\]-]{0,40}\Z")
# Operators, calls, subscripts and regular expressions: source code, not a value
_CODE: Final = re.compile(
    r"->|=>|::|&&|\|\||<<|>>|[!=]=|[\w)\]][(\[][^()\[\]]*[)\]](?:[.(\[]|\Z)|\[\^?[aA0]-[zZ9]|\\[dDwWsSbB]|\(\?|\[\^"
)
_CALL: Final = re.compile(r"(?P<name>[A-Za-z_][\w.]*)[(\[](?P<closed>[^()\[\]]*[)\]])?")
_MAY_GO_ON: Final = frozenset("&<;([{\\'|,.:)")
_LINE_CHARS, _WHOLE_CHARS_MAX = 200, 256


class Value(NamedTuple):
    """A value: text[start:end]."""

    start: int
    end: int
    quoted: bool  # it is between quotes, so its end is certain


def value_at(text: str, position: int, kind: str) -> Value | None:
    """Returns the quoted string or bare word at the position; of a bare word the part that is
    surely a value.
    """
    if text.startswith(_CDATA, position):
        start = position + len(_CDATA)
        end = text.find("]]>", start, start + CHARS_MAX)
        return Value(start, end, True) if end > start else None
    escapes = 0
    while escapes < 2 and text.startswith("\\", position + escapes):
        escapes += 1
    quote = text[position + escapes : position + escapes + 1]
    if quote in _PAIRS and quote:
        start = position + escapes + 1
        end = _closing(text, start, _PAIRS[quote], escapes)
        if end < 0:
            return _bare(text, start, kind)
        return Value(start, end, True) if end > start else None
    return _bare(text, position, kind)


def whole(text: str, start: int, end: int, before: str) -> int:
    """Returns the real end of the bare word text[start:end], including special characters; at least
    `end`.

    before: the text before the name of the value, to distinguish a URL's query from a separate
    line.
    """
    sure = end if end > start else _HEAD.match(text, start, start + _WHOLE_CHARS_MAX).end()  # type: ignore[union-attr]
    if text[sure : sure + 1] not in _MAY_GO_ON:
        return end
    if _FIELD.search(before):
        pattern = _WHOLE_FIELD
    else:
        line = text[max(0, start - _LINE_CHARS, text.rfind("\n", max(0, start - _LINE_CHARS), start) + 1) : start]
        pattern = _WHOLE if line.count("'") % 2 else _WHOLE_APOSTROPHE
    match = pattern.match(text, start, start + _WHOLE_CHARS_MAX)
    stop = match.end() if match else end
    while stop > end and text[stop - 1] in ".,:":
        stop -= 1
    return max(stop, end)


def is_code(value: str) -> bool:
    """True for operators and calls, which source code may have in the place of a value."""
    if _CODE.search(value):
        return True
    call = _CALL.match(value)
    return call is not None and (
        not call["closed"] or "." in call["name"] or not any(c.isdigit() for c in call["name"])
    )


@lru_cache(maxsize=64)
def _content(closings: str, escapes: int) -> re.Pattern[str]:
    """Matches the text between an opening quote and the closing one.

    An escaped quote does not end the string. A quote with more backslashes than the opening one
    does not either. `''` is a quote inside `'...'`.
    """
    if escapes:
        return re.compile(rf"[^\n]*?(?<!\\)(?=\\{{{escapes}}}[{closings}])")
    doubled = "|''(?=[^'\n]*')" if closings == "'" else ""
    return re.compile(rf"(?:[^\\\n{closings}]|\\[^\n]{doubled})*+(?=[{closings}])")


def _closing(text: str, start: int, closings: str, escapes: int) -> int:
    """Returns the place of the closing quote with its backslashes; -1 if the string does not end on
    this line.
    """
    limit = min(len(text), start + CHARS_MAX)
    match = _content(closings, escapes).match(text, start, limit)
    if match is None and not escapes:
        match = re.compile(rf"[^\n{closings}]*(?=[{closings}])").match(text, start, limit)
    return match.end() if match else -1


def _bare(text: str, start: int, kind: str) -> Value | None:
    match = (_PASSWORD if kind == "pass" else _KEY).match(text, start)
    if match is None:
        return None
    end = match.end()
    if text[end : end + 1] in {"(", "["}:
        return None  # a call or a subscript: code, not a value
    while end > start and text[end - 1] in ".,:)":
        end -= 1
    return Value(start, end, False)
