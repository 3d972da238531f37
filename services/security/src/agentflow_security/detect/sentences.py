"""Passwords in running text, in other languages than English: `Das Kennwort für das WLAN ist ...`.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agentflow_common.private_words import PASSWORD_WORDS
from agentflow_security.detect.findings import PASSWORD, Finding
from agentflow_security.detect.values import Value, is_code, value_at, whole

# Names of a password that are not English; the first word of each must stand in the text before the pattern is tried.
_HINTS: Final = (
    "kennwort", "contrase", "mot de passe", "senha", "palavra", "clave", "wachtwoord", "hasło", "haslo", "hasła",
    "lösenord", "adgangskode", "kodeord", "mdp", "passord", "salasana", "heslo", "jelszó", "jelszo", "parola", "geslo",
    "parool", *PASSWORD_WORDS,
)  # fmt: skip
FOREIGN: Final = re.compile(
    r"(?P<pass>kennw(?:ort|örter)|contrase[nñ]as?|mots? de passe|\bsenhas?\b|\bpalavra[- ]passe|"
    r"\bclave(?: de acceso| acceso| secreta)|(?<!palabra )\bclave(?= es )|wachtwoord|\bhas[lł](?:o|em|a)\b|lösenord|"
    r"adgangskode|\bkodeord|\bmdp(?=\Z|[ ]?[:=])|passord|salasana(?: on)?|\bheslo\b|jelsz[óo]|"
    r"\bparola(?= d.accesso|[ ]?[:=])|\b(?:geslo|parool)(?=\Z|[ ]?[:=])|κωδικός πρόσβασης|парол[аеиьюя]|"
    + "|".join(re.escape(word) for word in PASSWORD_WORDS)
    + ")"
)
_VERBS: Final = "is|was|are|ist|lautet|war|heißt|heisst|wird|est|était|es|era|è|é|sarà|será"
_MORE_VERBS: Final = (
    "este|adalah|là|είναι|هي|היא|है|คือ|yra|to|jest|będzie|är|er|je|sera"  # words that mean something else in English
)


def _sentence(verbs: str) -> re.Pattern[str]:
    """Matches `... für das neue WLAN ist `: at most five words and the verb, or some words and a colon."""
    word = r"[ ]{1,2}[^\W\d_][\w'\u2019.-]{0,19}"
    adverb = r"(?:[ ]{1,2}(?:nun|jetzt|now|maintenant|ahora))?"
    return re.compile(
        rf"\w{{0,3}}(?:(?:{word}){{0,5}}?[ ]{{1,2}}(?:{verbs}){adverb}[ ]?:?|(?:{word}){{1,5}}?[ ]?:)[ ]{{1,2}}(?=\S)"
    )


_SENTENCE: Final = _sentence(_VERBS)
_SENTENCE_FOREIGN: Final = _sentence(f"{_VERBS}|{_MORE_VERBS}")
_SENTENCE_CHANGED: Final = re.compile(r"[ ]{1,2}to[ ]?:?[ ]{1,2}(?=\S)")
_CHANGED: Final = re.compile(r"\b(?:chang|set|reset|updat)\w{0,5}(?: \w{1,12}){0,2} \Z")
_SPECIAL_INSIDE: Final = re.compile(r"\w[!#$%^&*?@+~=<>|][\w!#$%^&*?@+~=]*\w")
# `8-stellig`, `SHA256`: words about a password
_ABOUT: Final = re.compile(
    r"[<>~]?[0-9]{1,4}[- ]?(?:bit|byte|char|stell|zeich|digit|day|tag|car|jour|d[ií]a|znak|teken|hour|min|%|x\b)|"
    r"(?:sha|md|aes|base|utf|rsa|argon|scrypt|pbkdf|bcrypt|v|http|ipv|oauth|win|word|web)-?[0-9]{1,4}(?:\b|[-_])|"
    r"[0-9][0-9.,:/-]*\Z",
    re.IGNORECASE,
)
# Words in messages and labels about passwords in general
_GENERAL: Final = re.compile(
    r"\b(?:must|should|can(?:not|'t)?|may|will|is|are|was|has|have|not|no|at|least|most|than|min|max|minimum|maximum|characters?|chars?|"
    r"digits?|letters?|long|short|invalid|incorrect|wrong|enter|your|please|expired?|required|optional|days?|hours?|minutes?|"
    r"zeichen|mindestens|muss|bitte|ist|sind|nicht|caract[eè]res|doit|mínimo|caracteres|debe|if|for|with|see|of|and|or)\b",
    re.I,
)
_PHRASE: Final = re.compile(r"[^\s\"'`<>\x00]{1,40}+(?:[ ][^\s\"'`<>\x00]{1,40}+){1,5}+(?=[ \t]{0,4}(?:\r?\n|\Z))")
_LINE: Final = re.compile(r"(?:^|\n)[ \t>*-]{0,12}[\w.-]{0,24}\Z")
_CHARS_MIN, _CHARS_QUOTED_MAX = 6, 64


def names(low: str) -> Iterator[re.Match[str]]:
    """Finds the words for a password in languages other than English."""
    if any(hint in low for hint in _HINTS):
        yield from FOREIGN.finditer(low)


def spoken(name: str) -> str:
    """Returns a dict key as words: `userSenha` is `user Senha`, `mot_de_passe` is `mot de passe`."""
    return re.sub(r"[_\-.]+", " ", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name))


def in_sentence(text: str, low: str, start: int, end: int) -> Finding | None:
    """Returns the password that a sentence gives after the name text[start:end]."""
    match = (_SENTENCE_FOREIGN if FOREIGN.match(low, start) else _SENTENCE).match(low, end)
    if match is None and _CHANGED.search(low, max(0, start - 32), start):
        match = _SENTENCE_CHANGED.match(low, end)
    if match is None:
        return None
    value = value_at(text, match.end(), "pass")
    if value is None or (value.quoted and value.end - value.start > _CHARS_QUOTED_MAX):
        return None
    stop = value.end if value.quoted else whole(text, value.start, value.end, "")
    return Finding(value.start, stop, PASSWORD) if _is_given(text, Value(value.start, stop, value.quoted)) else None


def _is_given(text: str, value: Value) -> bool:
    """True if the word has a digit among letters or a special character inside: a plain word
    describes the password.
    """
    word = text[value.start : value.end]
    if len(word) < _CHARS_MIN or _ABOUT.match(word) or word.startswith(("http", "<", "$", "{")):
        return False
    if any(c.isspace() for c in word) and not (value.quoted and is_phrase(word)):
        return False
    if "\0" in word or (not value.quoted and is_code(word)):
        return False
    varied = any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
    return varied or _SPECIAL_INSIDE.search(word) is not None


def is_about(word: str) -> bool:
    """True for a word that describes passwords: `8-stellig`, `SHA256`."""
    return _ABOUT.match(word) is not None


def is_phrase(value: str) -> bool:
    """True for several words with a digit that do not describe passwords: `Winter 2026 Haus!`."""
    parts = value.split()
    given = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    return given and 2 <= len(parts) <= 6 and _GENERAL.search(value) is None and _ABOUT.match(value) is None


def phrase_at(text: str, start: int, before: str) -> int:
    """Returns the end of a phrase that fills its line after a name at the line's start; 0 if there
    is none.
    """
    match = _PHRASE.match(text, start) if _LINE.search(before) else None
    if match is None or not is_phrase(match.group()):
        return 0
    return match.end() if match.group()[-1] in "!?$%&*+#@" else 0
