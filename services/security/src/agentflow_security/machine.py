"""Replaces findings in a JSON value by vault tokens, and vault tokens by originals.

Pure: no I/O, no clock. Walks dicts (keys too), lists, strings and numbers. A string is scanned
again after its findings became vault tokens, until nothing more is found. Protecting a protected
value therefore changes nothing.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

from agentflow_common.errors import BlockedError, InvalidError
from agentflow_common.screening import TOKEN, VALUE_DEPTH_MAX, name_of, suspicious_key, suspicious_number
from agentflow_security.detect import DETECTORS, Detector, detect

FINDINGS_MAX: Final = 50_000  # in one value: each is a row of the vault
_PASSES_MAX: Final = 16  # over one string; each pass replaces at least one more character
_ID_CHARS_MIN, _ID_CHARS_MAX = 6, 12
_NUMBER_MAX: Final = 10**19  # longer numbers are neither cards nor phone numbers
_LETTER: Final = re.compile("[A-Z]")

# An original in the vault is one letter for the JSON type, then the text.
_STRING, _INTEGER, _FLOAT = "s", "i", "f"


class Secret(NamedTuple):
    """The original of a vault token."""

    category: str
    value: str  # the JSON type's letter and the text
    digest: bytes  # keyed, of run, category and value


class Protected(NamedTuple):
    """A value after its findings were replaced."""

    value: Any  # of the same shape as the original
    counts: dict[str, int]  # occurrences by category
    secrets: dict[str, Secret]  # by vault token


Digest = Callable[[str, str], bytes]  # (category, typed value) -> keyed digest


def token_of(category: str, digest: bytes, longer: int = 0) -> str:
    """Returns the vault token `<CATEGORY:ID>`.

    The id is the shortest usable beginning of the digest in base 32. `longer` skips lengths that
    belong to other values. Raises BlockedError past the last length.
    """
    text = base64.b32encode(digest).decode()
    usable = [n for n in range(_ID_CHARS_MIN, _ID_CHARS_MAX + 1) if _LETTER.search(text, 0, n)]
    if longer >= len(usable):
        raise BlockedError(f"no free id is left for a vault token of category {category} in this run")
    return f"<{category}:{text[: usable[longer]]}>"


def protect(
    value: Any,
    digest: Digest,
    refused: AbstractSet[tuple[bytes, str]] = frozenset(),
    detectors: tuple[Detector, ...] = DETECTORS,
) -> Protected:
    """Replaces the findings in a value by vault tokens.

    refused: (digest, vault token) pairs whose token already stands for another value in the vault.
    Raises InvalidError for a value that is too deep or has too many findings. Errors of detectors
    pass through.
    """
    walk = _Protect(digest, refused, detectors)
    out = walk.node(value, "", 0)
    return Protected(out, dict(walk.counts), walk.secrets)


class _Protect:
    def __init__(
        self, digest: Digest, refused: AbstractSet[tuple[bytes, str]], detectors: tuple[Detector, ...]
    ) -> None:
        self._digest = digest
        self._refused = refused
        self._detectors = detectors
        self._tokens: dict[tuple[str, str], str] = {}
        self.counts: Counter[str] = Counter()
        self.secrets: dict[str, Secret] = {}
        self._found = 0

    def node(self, node: Any, name: str, depth: int) -> Any:
        if isinstance(node, str):
            return self._text(node, name)
        if node is None or isinstance(node, bool):
            return node
        if isinstance(node, int | float):
            return self._number(node, name)
        if depth >= VALUE_DEPTH_MAX:
            fix = "flatten it, or put it in a file and pass its key"
            raise InvalidError.at(
                "value", f"the value is nested deeper than {VALUE_DEPTH_MAX} levels", fix, kind="too_deep"
            )
        if isinstance(node, dict):
            return {
                self._key(key): self.node(item, _name(name_of(node, key, name)), depth + 1)
                for key, item in node.items()
            }
        if isinstance(node, list | tuple):
            return [self.node(item, name, depth + 1) for item in node]
        raise InvalidError(f"a {type(node).__name__} is not a JSON value")

    def _key(self, key: str) -> str:
        return self._text(key, "") if suspicious_key(key) else key

    def _text(self, text: str, name: str) -> str:
        for _ in range(_PASSES_MAX):
            findings = detect(text, name, self._detectors)
            if not findings:
                return text
            parts: list[str] = []
            position = 0
            for found in findings:
                parts.append(text[position : found.start])
                parts.append(self._token(found.category, _STRING + text[found.start : found.end]))
                position = found.end
            parts.append(text[position:])
            text = "".join(parts)
        raise BlockedError(f"the text still shows findings after {_PASSES_MAX} passes; it is not passed on")

    def _number(self, number: float, name: str) -> Any:
        if not suspicious_number(number) or not 0 < number < _NUMBER_MAX:
            return number
        digits = str(int(number))
        findings = detect(digits, name, self._detectors)
        if len(findings) != 1 or findings[0][:2] != (0, len(digits)):
            return number
        kind = _INTEGER + digits if isinstance(number, int) else _FLOAT + repr(number)
        return self._token(findings[0].category, kind)

    def _token(self, category: str, value: str) -> str:
        self._found += 1
        if self._found > FINDINGS_MAX:
            text = f"one payload has more than {FINDINGS_MAX:,} sensitive values"
            raise InvalidError.at("value", text, "split it into parts", kind="too_many_findings")
        self.counts[category] += 1
        known = self._tokens.get((category, value))
        if known is not None:
            return known
        digest = self._digest(category, value)
        longer = 0
        token = token_of(category, digest)
        while token in self.secrets or (digest, token) in self._refused:
            longer += 1  # another value has it, in this payload or in the vault
            token = token_of(category, digest, longer)
        self._tokens[category, value] = token
        self.secrets[token] = Secret(category, value, digest)
        return token


def _name(key: str) -> str:
    """Returns a dict key as context for its value, without categories: they do not describe the value."""
    return TOKEN.sub(" ", key) if "<" in key else key


class Restored(NamedTuple):
    """A value after its vault tokens were replaced by originals."""

    value: Any
    total: int  # replaced occurrences
    counts: dict[str, int]  # the same by category


def restore(value: Any, originals: Mapping[str, str], chars_max: int) -> Restored:
    """Replaces vault tokens by originals; unknown ones stay.

    originals: typed values by vault token. chars_max: the most characters to put back in total.
    """
    walk = _Restore(originals, chars_max)
    out = walk.node(value, 0)
    return Restored(out, sum(walk.counts.values()), dict(walk.counts))


class _Restore:
    def __init__(self, originals: Mapping[str, str], chars_max: int) -> None:
        self._originals = originals
        self._room = chars_max
        self.counts: Counter[str] = Counter()

    def node(self, node: Any, depth: int) -> Any:
        if isinstance(node, str):
            return self._text(node)
        if isinstance(node, dict | list | tuple) and depth >= VALUE_DEPTH_MAX:
            raise InvalidError(f"the value is nested deeper than {VALUE_DEPTH_MAX} levels", kind="too_deep")
        if isinstance(node, dict):
            return {str(self._plain(key)): self.node(item, depth + 1) for key, item in node.items()}
        if isinstance(node, list | tuple):
            return [self.node(item, depth + 1) for item in node]
        return node

    def _text(self, text: str) -> Any:
        typed = self._originals.get(text)
        if typed is not None and typed[0] != _STRING:  # the vault token replaced a number
            self._count(text, typed)
            return int(typed[1:]) if typed[0] == _INTEGER else float(typed[1:])
        return self._plain(text)

    def _plain(self, text: str) -> str:
        return TOKEN.sub(self._original, text) if "<" in text else text

    def _original(self, match: re.Match[str]) -> str:
        typed = self._originals.get(match.group())
        if typed is None:
            return match.group()
        self._count(match.group(), typed)
        return typed[1:]

    def _count(self, token: str, typed: str) -> None:
        self.counts[token[1:].partition(":")[0]] += 1
        self._room -= len(typed)
        if self._room < 0:
            raise InvalidError("the restored value would be too large: restore it in parts", kind="payload_too_large")
