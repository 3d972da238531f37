"""The form of a vault token, and a quick check whether a JSON value could hold anything sensitive.

Pure. The security service opens every detection with the same `suspicious` gate, so a value for which `needs_screening`
is False would have come back from it unchanged: callers may skip the question. The gate errs towards asking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from agentflow_common.private_words import PASSWORD_WORDS

# `<EMAIL_ADDRESS:7Q2M4K>`: a category, as Presidio names it, and 6 to 12 letters of base 32. At least one is not
# a digit: a card number written in angle brackets is not taken for a token.
TOKEN: Final = re.compile(r"<([A-Z][A-Z_]{1,30}):(?=[2-7]{0,11}[A-Z])([A-Z2-7]{6,12})>")

VALUE_DEPTH_MAX: Final = 64  # the security service refuses deeper values: a stack bound, far above real documents
TEXT_CHARS_MIN: Final = 5  # nothing that a detector looks for is shorter,
NAMED_CHARS_MIN: Final = 4  # but for a password or a PIN under a dict key that says so
NUMBER_MIN: Final = 1_000_000  # the smallest phone number (seven digits) as a JSON number

# Plain words hold nothing that a detector looks for: each needs a digit or one of the signs that are left out here.
_PLAIN: Final = re.compile(r"[A-Za-z\s.!?()*#\[\]{}^;]*\Z", re.ASCII)
_NAME: Final = re.compile(r"[a-z]{1,24}(?:_[a-z]{1,24}){0,4}\Z", re.ASCII)
_TELLING: Final = re.compile(
    r"pass|pwd|psw|pin(?:\b|_|[ -]?code|number)|secret|token|key|auth|cred|bearer|cookie|session|private|signature|"
    r"kennw|contrase|senha|clave|wachtwoord|has[lł]o|l[oö]senord|adgangskode|kodeord|salasana|heslo|jelsz|parola|geslo|parool|[sş]ifre|"
    r"\bmdp\b|\bpw\b|" + "|".join(re.escape(word) for word in PASSWORD_WORDS),
    re.I,
)
# Keys that say nothing about their value: `{"password": {"value": ...}}`, `{"name": "password", "value": ...}`
_BARE_NAMES: Final = frozenset({
    "value", "val", "values", "answer", "old", "new", "current", "previous", "plain", "raw", "confirm", "confirmation",
    "repeat", "number", "no", "nr",
})  # fmt: skip
_LABELED_NAMES: Final = frozenset(["value", "val", "values", "answer"])
_LABELS: Final = ("name", "key", "label", "field", "question", "variable", "property", "attribute")
_LABEL_CHARS_MAX: Final = 80


def telling(name: str) -> bool:
    """True if a dict key makes its value suspicious, whatever the value looks like (`password`, `apiKey`)."""
    return _TELLING.search(name) is not None


def suspicious(text: str, name: str = "") -> bool:
    """True if a string could hold a finding. `name` is the dict key that the string stands under, if any."""
    if len(text) < TEXT_CHARS_MIN:
        return len(text) >= NAMED_CHARS_MIN and name != "" and telling(name)
    return _PLAIN.match(text) is None or (name != "" and telling(name))


def suspicious_key(name: str) -> bool:
    """True if a dict key could itself hold a finding; `lower_case` names can't."""
    return suspicious(name) and _NAME.match(name) is None


def suspicious_number(number: float) -> bool:
    """True if a JSON number has the digits of a phone number, a card or an identity number."""
    return abs(number) >= NUMBER_MIN and (isinstance(number, int) or number.is_integer())


def name_of(node: Mapping[str, Any], key: str, name: str) -> str:
    """Returns the name that a value of a dict stands under: its key, or what says more where the key says nothing.

    name: the name that the dict itself stands under.
    """
    low = key.lower()
    if low not in _BARE_NAMES:
        return key
    said = [name] if name else []
    if low in _LABELED_NAMES:
        for label in _LABELS:
            text = node.get(label)
            if isinstance(text, str) and 0 < len(text) <= _LABEL_CHARS_MAX and label != key:
                if telling(text):
                    return text
                said.append(text.rstrip(" ?:.*"))
    return " ".join(said) or key


def needs_screening(value: Any) -> bool:
    """True if any string, dict key or number in the JSON value could hold something that a detector looks for."""
    stack: list[tuple[Any, str, int]] = [(value, "", 0)]
    while stack:
        node, name, depth = stack.pop()
        if isinstance(node, str):
            if suspicious(node, name):
                return True
        elif isinstance(node, bool) or node is None:
            continue
        elif isinstance(node, int | float):
            if suspicious_number(node):
                return True
        elif depth >= VALUE_DEPTH_MAX:
            return True  # the service refuses it; it is not for this gate to wave it through
        elif isinstance(node, dict):
            for key, item in node.items():
                if not isinstance(key, str) or suspicious_key(key):
                    return True
                stack.append((item, name_of(node, key, name), depth + 1))
        elif isinstance(node, list | tuple):
            stack.extend((item, name, depth + 1) for item in node)
        else:
            return True  # not JSON: let the service say so
    return False


def tokens(value: Any) -> Iterator[str]:
    """Yields every vault token in the strings and dict keys of a JSON value."""
    stack: list[Any] = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            if "<" in node:
                yield from (match.group() for match in TOKEN.finditer(node))
        elif isinstance(node, dict):
            stack.extend(node.keys())
            stack.extend(node.values())
        elif isinstance(node, list | tuple):
            stack.extend(node)


def contains_token(value: Any) -> bool:
    """True if any string or dict key in the JSON value holds a vault token."""
    return next(tokens(value), None) is not None
