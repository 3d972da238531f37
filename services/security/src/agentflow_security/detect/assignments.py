"""Secrets after a name: `password=...`, `"api_key": "..."`, `<Token>...</Token>`.

Pure. A name alone proves nothing (`token_count: 12`, `password: string`), so the value is judged
too. How strictly depends on the name, and on the text between the two. A password may be a word; a
`key` must look random.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agentflow_security.detect.findings import API_KEY, PASSWORD, Finding, words
from agentflow_security.detect.randomness import entropy, is_filler, is_uuid, looks_random, worded
from agentflow_security.detect.sentences import in_sentence, is_about, is_phrase, names, phrase_at, spoken
from agentflow_security.detect.values import CHARS_MAX, Value, is_code, value_at, whole
from agentflow_security.detect.wraps import goes_on, rest_of_key

_KEYWORD: Final = re.compile(
    r"(?P<pass>passw(?:or[dt])?(?![a-z]{1,3}less)|passwd|passphrase|passcode|pwd|"
    r"pass(?=[\"'`]?[ ]{0,4}[=:])|(?<![a-z])pw(?=[\"'`]?[ ]{0,4}[=:]))|"
    r"(?P<strong>secret|token|api[_\- .]?key|access[_\- .]?key|private[_\- .]?key|auth[_\- .]?key|account[_\- .]?key|"
    r"(?:consumer|encryption|signing|master|license|subscription|client|shared)[_\- .]?key|"
    r"credential|oauth|bearer|\bpat\b|[_-]pat\b)|"
    r"(?P<weak>key|auth|access|private|login|signature|\bsig\b|jwt|webhook|cookie|session)"
)
# Names that describe a secret without containing one
_REST: Final = re.compile(
    r"[_-]?(?:s?(?:label|field|hint|placeholder|length|len|policy|name|names|reset|url|uri|file|path|type|min|max|regex|expir\w*|"
    r"count|limit|endpoint|error|message|msg|text|title|prompt|input|form|id|ids|ttl|age|strength|algorithm|alg|size|ref|"
    r"format|version|usage|used|budget|board|word(?!s?\b)|s?_?per_\w+|less|ed|ing|ization|ize[drs]?|ship|holder|map|pair|i[sz]er)(?:_[a-z]{1,20}){0,3}|"
    r"_?(?:input|output|prompt|completion|total)_?tokens?)\b"
)
_REST_CAMEL: Final = re.compile(
    r"(?:Label|Field|Hint|Placeholder|Length|Policy|Name|Reset|Url|URL|Uri|File|Path|Type|Min|Max|Regex|Expir|Count|Limit|Endpoint|"
    r"Error|Message|Text|Title|Prompt|Input|Form|Id|ID|Ttl|Size|Ref|Format|Version|Usage|Budget)"
)
_HARMLESS_BEFORE: Final = re.compile(
    r"(?:public|primary|foreign|idempotency|cache|sort|partition|document|object|row|dedup(?:lication)?|group|routing|message|event|"
    r"s3|map|hash|issue|project|storage|bucket|blob|file|item|index|hot|short|arrow|lookup|natural|composite|surrogate|unique|"
    r"translation|i18n|page|next|prev|continuation|sync|max|min|num|input|output|prompt|completion|total|stop|pad|eos|bos|"
    r"special|reserved|csrf_?param)[_\- .]?\Z"
)
_TAIL: Final = re.compile(
    r"(?P<rest>[A-Za-z0-9_]{0,28}+(?:\.[A-Za-z0-9_]{1,20}+)?)"
    r"(?:\\{0,2}[\"'`])?[\])}*]{0,3}"
    r"(?:[ \t]{1,4}(?:string|str|token|key|code)\b|"
    r"[ \t]{0,2}:[ \t]{0,2}(?:str|[sS]tring|&(?:'static )?str)(?=[ \t]{0,2}=))?"
    r"(?P<sep>"
    r"\s{0,4}\{?\s{0,12}(?:value|default)\"?[ \t]{0,4}[:=]\s{0,4}"
    r"|\s{0,8}(?:[.:?+!=|]{0,3}=>?|->|\|\|:?|:{1,2}(?:[*_]{1,3}(?=\s))?|>|\|)(?:\s{0,2}=)?\s{0,12}(?:=[ \t]{0,4})?"
    r"|[ \t]{0,2}[\u2013\u2014\u2192][ \t]{0,2}|[ ]?(?:\u662f|\u4e3a|\u70ba|\u306f|\ub294|\uc740)[ ]{0,2}"
    r"|\s{0,2},\s{0,8}(?=\\{0,2}[\"'`])"
    r"|[ \t]{0,2}\([ \t]{0,2}(?=\\{0,2}[\"'`])"
    r"|[ \t]{1,3}(?:is|was|are|:|ist|lautet|est|es|è|é|jest)[: \t]{1,3}"
    r"|[ \t]{1,4}|[ \t]{0,2}\r?\n[ \t]{0,4}|-)"
)
_REMAINDER: Final = re.compile(r"[^\s\"'`<>,;&|(){}\[\]\\\x00]{0,512}+")
_REFERENCE: Final = re.compile(
    r"[$%@{<#&*,;:)\]}]|\.[$\"']|(?:env|process|os|var|self|this|config|settings|secrets|data|params|req|request|ctx|module|local|options)\.|"
    r"(?:get_?env|env|vault|secret|ref|arn|https?|file|/|\./|~/|\.\./|!|--)[(:/]",
    re.I,
)
_SIGNED: Final = re.compile(r"[$@{<#&*%](?!\Z)")  # a password may begin with these signs, and so may a reference
_TEMPLATE: Final = re.compile(
    r"[$%@#]?[({][({%]|[$%@#][({]|<%|\$[A-Z0-9_]+\Z|%[A-Z0-9_]+%|&#?\w+;|\*{2}|->|::|[({]\w*[.\[(]|<[\w -]+>\Z|"
    r"\{[\w.]*\}|#[0-9a-fA-F]{3,8}\Z|[@$]\w+\.\w|[&*]\w+[.\[(-]"
)
_CHAIN: Final = re.compile(r"[A-Za-z_]\w*(?:(?:\.|->|::)[A-Za-z_]\w*)+\Z")
_STOP: Final = words(
    """
    none null nil true false undefined string str text char varchar number integer boolean bool object array any
    void var let const required optional input hidden password passwd pwd pass secret token value changeme change_me
    change-me default example sample test user username name email unknown invalid incorrect wrong missing empty
    expired redacted reset protected encrypted hashed plain basic bearer must should cannot can may will the for and
    not with from here this that your type field admin root enabled disabled auto yes no request response self
    not-set not_set unset tbd n/a
    """
)
_PLACEHOLDER: Final = re.compile(r"(?:change[_-]?(?:me|it)|your|example|sample|test|default|redacted|x{3,})\b", re.I)
_FILL_IN: Final = re.compile(
    r"(?:<|\[)?(?:your|insert|replace|enter|put)[-_ ](?:[a-z]{1,12}[-_ ]?){1,6}[0-9x]{0,4}(?:>|\])?\Z", re.I
)
# Words that documents write into a key to mark it as an example
_DISCLAIMED: Final = re.compile(r"example(?:key|secret|token)?|sample|dummy|fake", re.I)
_AWS: Final = re.compile(r"[A-Za-z0-9/+]{36,64}\Z")
_AWS_CHARS: Final = 40
_LINE_END: Final = re.compile(r"[ \t]{0,3}\r?\n[ \t]{0,8}")
_DSN: Final = re.compile(r"[ ]?;[ ]?[A-Za-z][A-Za-z _]{1,30}=|;?[\"']?[ ]?\Z")  # `...;Password=x;Database=y`
_FILE_NAME: Final = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,5}\Z")
_ANOTHER_NAME: Final = re.compile(r"[A-Za-z_]\w*_(?:key|token|secret|auth|id)\Z")
_UNSAID: Final = words("is was are ist lautet est es è é jest - \u2013 \u2014 \u2192 是 为 為 は 는 은 |") | {""}
_SPECIAL: Final = re.compile(r"[^\w.-]")
_SPEAKS: Final = re.compile(r"(?:^|[\W_])(?:passw|passphrase|pwd|secret|token)", re.I)


def find_assignments(text: str, low: str, name: str) -> Iterator[Finding]:
    """Judges the value after every name of a secret, and the whole text if its dict key is such a name."""
    if name:
        yield from _under_key(text, name)
    for match in _KEYWORD.finditer(low):
        kind = match.lastgroup or "weak"
        if kind == "pass" or not _HARMLESS_BEFORE.search(low, max(0, match.start() - 24), match.start()):
            yield from _after_name(text, low, match, kind)
    for match in names(low):
        yield from _after_name(text, low, match, "pass")


def _after_name(text: str, low: str, match: re.Match[str], kind: str) -> Iterator[Finding]:
    """Judges the value that follows one name of a secret."""
    start, category = match.start(), PASSWORD if kind == "pass" else API_KEY
    tail = _TAIL.match(text, match.end())
    if kind == "pass" and (given := in_sentence(text, low, start, match.end())):
        yield given
    if tail is None:
        return
    rest = tail["rest"]
    if rest and (_REST.match(low, match.end()) or _REST_CAMEL.match(rest)):
        return
    sep = tail["sep"].strip().rstrip("*_")
    value = value_at(text, tail.end(), kind)
    before = low[max(0, start - 24) : start]
    if value is not None and kind != "pass" and sep in {"=", ":"} and not value.quoted:
        cut = _rest_of(text, value)
        if cut:
            yield Finding(value.start, cut, API_KEY)
            return
    if kind == "pass" and sep in {"=", ":"} and (end := phrase_at(text, tail.end(), before)):
        yield Finding(tail.end(), end, PASSWORD)
        return
    bare = not rest and not before[-1:].isalnum() and before[-1:] not in {"_", "-"}
    if value is not None and _judge(text, value, kind, sep, bare):
        end = value.end
        if text.startswith("=", end - 1) and not value.quoted and (more := _REMAINDER.match(text, end)):
            end = more.end()
        yield Finding(value.start, end if value.quoted else whole(text, value.start, end, before), category)
    elif (value is None or not value.quoted) and sep in {"=", ":", ">"}:
        begin, head = (value.start, value.end) if value is not None else (tail.end(), tail.end())
        end = whole(text, begin, head, before)
        if (
            end > head
            and text[end : end + 1] not in {"(", "["}
            and _is_whole(text, Value(begin, end, False), kind, bare)
        ):
            yield Finding(begin, end, category)


def _is_whole(text: str, found: Value, kind: str, bare: bool) -> bool:
    """Judges a bare word with special characters inside.

    The part before them is not enough to judge.
    """
    value = text[found.start : found.end]
    if value[0] == "\\" or is_code(value) or _refers(value, kind, False) or _SPECIAL.split(value)[0].lower() in _STOP:
        return False
    if kind == "pass":
        return len(value) >= 6 and _is_password(text, found, value, True)
    return len(value) >= 12 and _is_key(value, kind, bare)


def _under_key(text: str, name: str) -> Iterator[Finding]:
    low = name.lower()
    matches = [*_KEYWORD.finditer(low + "="), *names(low)]
    if not matches:
        name = spoken(name)  # `mot_de_passe`, `userSenha`
        low = name.lower()
        matches = [*names(low)]
    if not matches:
        return
    match = matches[-1]
    kinds = {m.lastgroup for m in matches}
    kind = "pass" if "pass" in kinds else "strong" if "strong" in kinds else "weak"
    if kind != "pass" and _HARMLESS_BEFORE.search(low[: match.start()]):
        return
    rest = name[match.end() :]
    if rest and (_REST.match(low, match.end()) or _REST_CAMEL.match(rest)):
        return
    start = len(text) - len(text.lstrip())
    value = Value(start, len(text.rstrip()), True)
    if value.end - value.start <= CHARS_MAX and _judge(text, value, kind, ":", low == match.group()):
        yield Finding(value.start, value.end, PASSWORD if kind == "pass" else API_KEY)


def _rest_of(text: str, value: Value) -> int:
    """Returns the end of a key that a line break has cut.

    Returns 0 if it does not continue, or is not a key.
    """
    end = _LINE_END.match(text, value.end)
    rest = rest_of_key(text, end.end()) if end else ""
    if end is None or not rest or "." in text[value.start : value.end]:
        return 0
    whole = text[value.start : value.end] + rest
    exact = len(whole) == _AWS_CHARS and _is_aws_secret(whole)
    if exact or (goes_on(text, value.end, rest) and looks_random(whole) and not _REFERENCE.match(whole)):
        return end.end() + len(rest)
    return 0


def _refers(value: str, kind: str, quoted: bool) -> bool:
    """True if a value only refers to the real one: `$DB_PASSWORD`, `{{inputs.password}}`, `env:PASSWORD`."""
    if _REFERENCE.match(value) is None:
        return False
    if kind != "pass" or not _SIGNED.match(value) or _TEMPLATE.search(value):
        return True
    given = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    if not quoted:
        given = given and any(c.isupper() for c in value) and any(c.islower() for c in value)
    return not given


def _judge(text: str, found: Value, kind: str, sep: str, bare: bool) -> bool:
    value = text[found.start : found.end]
    if is_filler(value) or _refers(value, kind, found.quoted) or _FILL_IN.match(value):
        return False
    if value.lower() in _STOP:
        dsn = kind == "pass" and sep == "=" and _DSN.match(text, found.end) is not None
        return dsn and _PLACEHOLDER.match(value) is None
    if not found.quoted and (
        (_CHAIN.match(value) and not any(c.isdigit() for c in value)) or _ANOTHER_NAME.match(value)
    ):
        return False
    said = sep not in _UNSAID
    if kind == "pass":
        listed = sep in {",", "("}  # `["password", "ping"]` lists words, `("DB_PASSWORD", "x7$k")` sets one
        return _is_password(text, found, value, said) and (not listed or _varied(value))
    if len(value) < 8 or any(c.isspace() for c in value):
        return False
    return _is_key(value, kind, bare) if said else _is_key_after_blank(value, kind, bare)


def _is_key(value: str, kind: str, bare: bool) -> bool:
    """True if a value after a separator is a key.

    A `token` may be anything without words; a bare `key` must look random.
    """
    if is_uuid(value):
        return kind == "strong" or not bare
    if value.isdigit():
        return len(value) >= 16 and (kind == "strong" or not bare)
    if kind == "strong":
        return (
            looks_random(value, letters_only=True) or _opaque(value) or _is_aws_secret(value) or _is_disclaimed(value)
        )
    if _FILE_NAME.search(value) or ("/" in value and worded(value) > 0.2):
        return False  # the key of an object in a bucket
    return len(value) >= 12 and looks_random(value, letters_only=not bare and len(value) >= 20)


def _is_key_after_blank(value: str, kind: str, bare: bool) -> bool:
    """True for `token x9...` in running text: long and random, after more than the word `key`."""
    if len(value) < 16 or (kind == "weak" and bare):
        return False
    return looks_random(value) or (kind == "strong" and (is_uuid(value) or _is_aws_secret(value)))


def _is_aws_secret(value: str) -> bool:
    """True for 40 characters of base 64, or about as many with a digit.

    Words may occur in it by chance.
    """
    if _AWS.match(value) is None or value.islower() or value.isupper():
        return False
    return len(value) == _AWS_CHARS or (any(c.isdigit() for c in value) and sum(c.isupper() for c in value) >= 8)


def _is_disclaimed(value: str) -> bool:
    """True if a value is random except for a word such as EXAMPLE. It may be a live key."""
    rest = _DISCLAIMED.sub("", value)
    return 12 <= len(rest) < len(value) and looks_random(rest) and worded(rest) <= 0.3


def _opaque(value: str) -> bool:
    """True for a long value without words: hex, base 32 or base 64 with no digit or little variety."""
    if len(value) >= 20 and re.fullmatch(r"[A-Za-z0-9+/=_-]+", value):
        unworded = sum(c.isdigit() for c in value) >= 2 or worded(value) <= 0.5
        return unworded and entropy(value) >= 3.0 and not re.search(r"[a-z]{3,}[_-][a-z]{3,}", value)
    return False


def _varied(value: str) -> bool:
    return len(value) >= 6 and any(c.isdigit() for c in value) and any(c.isalpha() for c in value)


def _is_password(text: str, found: Value, value: str, said: bool) -> bool:  # noqa: PLR0911  a list of reasons
    if len(value) < 4 or (len(value) > 128 and (not found.quoted or any(c.isspace() for c in value))):
        return False
    varied = any(not c.isalpha() and c not in "_-. " for c in value) and any(c.isalpha() for c in value)
    if not said:
        return varied and _varied(value) and not is_about(value)
    if _SPEAKS.search(value) and not any(c.isdigit() for c in value):
        return False  # `#add-password`, `user_password`: another name
    if any(c.isspace() for c in value):
        ended = value.rstrip().endswith((":", ".", "!", "?"))
        return found.quoted and ((varied or len(value.split()) <= 8) if not ended else is_phrase(value))
    if found.quoted or varied or (value.isdigit() and len(value) >= 4):
        return True
    ending = text[found.end : found.end + 1]
    if ending in {"", "\n", "\r", ";", "&", "<"}:
        return True
    return re.match(r"[ \t]*(?:#|//|\r?\n|\Z|[A-Za-z_]{2,20}=)", text[found.end : found.end + 40]) is not None
