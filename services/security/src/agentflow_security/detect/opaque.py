"""Keys without a label: a single string of mixed case and digits, as only a generator writes it.

Pure. The rules are strict, because documents contain many harmless opaque strings: digests and
commit ids (hex), UUIDs, object ids, base 64 of pictures, minified code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agentflow_security.detect.findings import API_KEY, Finding, words
from agentflow_security.detect.randomness import entropy, is_uuid, looks_random, transitions

_CHARS_MIN: Final = 24
_CHARS_MAX: Final = 100  # longer runs are encoded data, not keys
_BLOCK_LINE_MIN: Final = 60  # base 64 is broken after 64 or 76 characters
_WORD: Final = re.compile(r"(?<![\w/+.@%#&?-])[A-Za-z0-9][A-Za-z0-9_+-]{23,120}+={0,2}+(?![\w/+@%=])")
_PREFIXED: Final = re.compile(r"(?P<prefix>[A-Za-z][A-Za-z0-9]{1,11})[_-](?P<body>[A-Za-z0-9_-]{28,90})\Z")
_IDS: Final = words(
    """
    run org usr user cus pi price chatcmpl asst thread msg toolu call req evt in sub ch prod file img sha sha1
    sha256 sha384 sha512 md5 commit build id uuid rev ref tag task job step trace span doc blob page node item batch
    resp fc rs ws session cs seti
    """
)


def find_opaque(text: str, low: str, name: str) -> Iterator[Finding]:  # noqa: ARG001
    """Finds words of 24 to 100 characters with an unordered mix of digits and cases, or a prefix
    and a random body.
    """
    for match in _WORD.finditer(text):
        word = match.group().rstrip("=_-+")
        if not _CHARS_MIN <= len(word) <= _CHARS_MAX or is_uuid(word) or word.startswith("AAAA"):
            continue  # `AAAA...`: an SSH public key
        if _in_block(text, match.start(), match.end()):
            continue  # one of the lines of a certificate, a public key, an attachment
        if _is_mixed(word) or _is_prefixed(word):
            yield Finding(match.start(), match.end(), API_KEY)


def _is_mixed(word: str) -> bool:
    digits = sum(c.isdigit() for c in word)
    upper = sum(c.isupper() for c in word)
    lower = sum(c.islower() for c in word)
    if (
        digits < 2
        or upper < 4
        or lower < 4
        or word.partition("-")[0].lower() in _IDS
        or word.partition("_")[0].lower() in _IDS
    ):
        return False
    return transitions(word) >= 0.38 and entropy(word) >= 3.9 and looks_random(word)


def _is_prefixed(word: str) -> bool:
    match = _PREFIXED.match(word)
    if match is None or match["prefix"].lower() in _IDS:
        return False
    body = match["body"]
    if is_uuid(body) or sum(c in "_-" for c in body) > 3:
        return False
    return sum(c.isdigit() for c in body) >= 5 and entropy(body) >= 3.3 and looks_random(body)


def _in_block(text: str, start: int, end: int) -> bool:
    """True if the word is a full line of a block of base 64, or the short last line below a full one."""
    line = text.rfind("\n", max(0, start - 16), start) + 1 or (0 if start <= 16 else -1)
    if line < 0 or text[line:start].strip() or (end < len(text) and text[end] not in "\r\n") or "\n" not in text:
        return False
    if end - start >= _BLOCK_LINE_MIN:
        return True
    above = text[max(0, line - 80) : max(0, line - 1)].rpartition("\n")[2].strip()
    return len(above) >= _BLOCK_LINE_MIN and " " not in above
