"""Reading text without a model: sentences, words, languages. Pure and deterministic."""
# ruff: noqa: RUF001

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from typing import Final

from agentflow_worker.providers.local.data import table
from agentflow_worker.providers.local.words import ABBREVIATIONS, BEFORE_ORDINALS, ENDING, MONTHS, STOPWORDS

TEXT_CHARS_MAX: Final = 400_000  # beyond it the head is read: algorithms here are meant for documents
_END: Final = re.compile(r"(?<=[.!?…。！？])[\"'”’)\]]*\s+|(?<=[。！？])")
_LIST: Final = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+")
_RULE: Final = re.compile(r"\s*(?:[-=_*]\s?){3,}\s*\Z")
# rows of Markdown, and columns that spaces or tabs keep apart
_TABLE: Final = re.compile(r"\s*\|.*\|\s*\Z|.*\S(?: {3,}|\t+)\S|.*[^\s.!?:] {2}\S.*[^\s.!?:] {2}\S")
_LINK: Final = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS: Final = re.compile(r"(\*\*|__|~~|`)(?=\S)(.+?)(?<=\S)\1")
_EMPHASIS: Final = re.compile(r"(?<![\w*])[*_](?=\S)([^*_\n]+?)(?<=\S)[*_](?![\w*])")
WORD: Final = re.compile(r"<[A-Z][A-Z_]+:[A-Z2-7]+>|[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+(?:[.,:/-]\d+)*%?")
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_CJK: Final = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")
# vault tokens as they are, escaped for HTML, broken over a line, or as the placeholders that prompts speak of
_TOKENS: Final = re.compile(
    r"(?:<|&lt;)\s*[A-Z][A-Z_]{1,30}\s*:\s*[A-Z2-7]{6,12}\s*(?:>|&gt;)|\b[A-Z][A-Z_]{2,30}:[A-Z2-7]{6,12}\b"
    r"|\[[A-Z][A-Z_]{2,30}_\d{1,4}\]"
)
_URL: Final = re.compile(r"\b(?:https?://|www\.)\S+|\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.I)
_LABEL: Final = """
    tel telefon téléphone teléfono telefono telephone phone fax telefax mobile mobil handy cell portable móvil
    e-?mail mail courriel correo web website webseite internet url iban bic swift konto kontonummer account
    ust-?id ust-?idnr vat steuernummer kundennummer kundennr customer address adresse anschrift dirección indirizzo
    postfach hrb hrp siret siren cif nif kvk contact kontakt ansprechpartner
"""
_CONTACT: Final = re.compile(
    rf"\W*(?:{'|'.join(_LABEL.split())})\b(?:[ .-]?(?:no|nr|n°|nº|number|id))?\s*(?:[.:]|(?=[+<(\d]))", re.I
)
_PLACE: Final = re.compile(r"\b(?:[A-Z]{1,2}-)?\d{4,5}\s+[A-ZÄÖÜÉ][\w.-]+")
_VOWELLESS: Final = re.compile(r"[bcdfghjklmnpqrstvwxz]+")  # `Bj.`, `Strs.`: no word of these languages
_SHORT_LINE: Final = 32


def sentences(text: str) -> list[str]:
    """Returns the prose sentences of plain text or Markdown: no headings, tables, code blocks or
    list marks.
    """
    found: list[str] = []
    for block in _blocks(text[:TEXT_CHARS_MAX]):
        found.extend(_split(block))
    return found


def prose(text: str) -> list[str]:
    """Returns the sentences without contact lines, tokens and fragments, unless there is nothing else."""
    found = sentences(text)
    return [sentence for sentence in found if not is_contact(sentence) and _says_something(sentence)] or found


def without_tokens(text: str) -> str:
    """Returns the text without vault tokens, in any form in which they may stand in it."""
    return _TOKENS.sub(" ", text) if ":" in text or "_" in text else text


def without_addresses(text: str) -> str:
    """Returns the text without vault tokens, URLs and mail addresses: their parts are not words."""
    return _URL.sub(" ", without_tokens(text))


def is_contact(line: str) -> bool:
    """True if a line gives a phone number, an address and the like, and says nothing else."""
    plain = without_tokens(line)
    rest = _URL.sub(" ", plain)
    real = sum(len(word) > 1 for word in _LETTERS.findall(rest))
    hidden = len(_TOKENS.findall(line)) + len(_URL.findall(plain))
    if hidden and real < 2 + 3 * hidden:
        return True
    if real < 12 and _CONTACT.match(line):
        return True
    return real < 9 and not line.rstrip().endswith((".", "!", "?")) and _PLACE.search(line) is not None


def _says_something(sentence: str) -> bool:
    if _CJK.search(sentence):
        return len(sentence) >= 8
    ends = sentence.rstrip("\"'”’»)]").endswith((".", "!", "?", "…", ":", ";"))
    return len(_LETTERS.findall(sentence)) >= (4 if ends else 8)


def headings(text: str) -> list[str]:
    """Returns the Markdown headings, without their marks."""
    return [clean(line.lstrip("# ")) for line in text[:TEXT_CHARS_MAX].splitlines() if re.match(r"#{1,6}\s", line)]


def clean(line: str) -> str:
    """Returns a line without inline Markdown and with single spaces."""
    line = _LINK.sub(r"\1", line)
    line = _EMPHASIS.sub(r"\1", _MARKS.sub(r"\2", line))
    return " ".join(line.split())


def shortened(text: str, chars_max: int) -> str:
    """Returns the start of the text, cut between two words."""
    if len(text) <= chars_max:
        return text
    head = text[: chars_max + 1]
    return (head.rsplit(None, 1)[0] if " " in head else head[:chars_max]).rstrip()


def _blocks(text: str) -> list[str]:
    """Returns paragraphs and list items, each on one line."""
    blocks: list[str] = []
    lines_of_block: list[str] = []
    fenced = False

    def flush() -> None:
        if lines_of_block:
            blocks.append(clean(" ".join(lines_of_block)))
            lines_of_block.clear()

    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=False):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
            flush()
        elif fenced:
            continue
        elif not line.strip() or re.match(r"#{1,6}\s", line) or _RULE.match(line) or _TABLE.match(line):
            flush()
        elif is_contact(line):
            flush()
            blocks.append(clean(line))
        elif _LIST.match(line):
            flush()
            lines_of_block.append(_LIST.sub("", line, count=1))
        else:
            lines_of_block.append(line.lstrip("> "))
        if lines_of_block and _stands_alone(line, following):
            flush()
    flush()
    return blocks


def _stands_alone(line: str, following: str) -> bool:
    """True if a line belongs to a letterhead, an address or a list without marks, and not to a
    wrapped text.
    """
    line, following = line.strip(), following.strip()
    if not line or not following or len(line) > _SHORT_LINE or line.endswith((",", "-", "–", "(")):
        return False
    return following[0].isupper() or following[0].isdigit() or following[0] in "<+"


def _split(block: str) -> list[str]:
    parts: list[str] = []
    start = 0
    for match in _END.finditer(block):
        head = block[start : match.start()].rstrip("\"'”’)]")
        if head.endswith(".") and _goes_on(head, block[match.end() :]):
            continue
        parts.append(block[start : match.end()].strip())
        start = match.end()
    parts.append(block[start:].strip())
    return [part for part in parts if part]


def _goes_on(head: str, rest: str) -> bool:
    """True if a full stop belongs to an abbreviation or an ordinal number, and the sentence goes on
    after it.
    """
    written = head.rsplit(None, 1)[-1].lstrip("(\"'„“«[").rstrip(".")
    last = written.lower()
    following = rest[:1]
    if following.islower():
        return True
    word = _LETTERS.match(rest)
    next_word = word.group().lower() if word else ""
    if last.isdigit() and len(last) <= 2:
        before = head.lower().split()[-2:-1]
        return next_word in MONTHS or (bool(before) and before[0] in BEFORE_ORDINALS)
    if last in ENDING:  # it may also be the last word: then a common word begins the next sentence
        return not any(next_word in stopwords for stopwords in STOPWORDS.values())
    if last in ABBREVIATIONS or (len(last) == 1 and last.isalpha()):
        return True
    return len(last) <= 4 and not written.isupper() and _VOWELLESS.fullmatch(last) is not None


def words(text: str) -> list[str]:
    """Returns words, numbers and vault tokens in order, as written."""
    return WORD.findall(text)


def stem(word: str) -> str:
    """Returns a crude stem that joins plurals and verb forms; only for comparing."""
    word = word.lower()
    for suffix in ("ations", "ation", "ments", "ment", "ingly", "ing", "ies", "edly", "ed", "es", "ly", "s"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:
            return word[: -len(suffix)] + ("y" if suffix == "ies" else "")
    return word


def terms(text: str, stopwords: frozenset[str]) -> list[str]:
    """Returns the stems that carry topic; vault tokens and bare numbers don't."""
    return [
        stem(word)
        for word in words(text)
        if len(word) > 2 and word[0] not in "<0123456789" and word.lower() not in stopwords
    ]


def stopwords_of(language: str) -> frozenset[str]:
    return STOPWORDS.get(language, frozenset()) | STOPWORDS["en"]


# --- language ---

_DATA: Final = table("languages")
_SCRIPTS: Final = {code: re.compile(pattern) for code, pattern in _DATA["scripts"].items()}
_CYRILLIC: Final = re.compile(r"[\u0400-\u04ff]")
_LETTERS_OF: Final = {code: frozenset(letters) for code, letters in _DATA["letters"].items()}
NAMES: Final[dict[str, str]] = _DATA["names"]


def language_code(name: str) -> str:
    """Returns the code of a language: `es` for `Spanish`, `es` and `es-MX`. An unknown name is returned lowercased."""
    lowered = name.strip().lower()
    for code, full in NAMES.items():
        if lowered in (code, full.lower()) or lowered.split("-")[0].split("_")[0] == code:
            return code
    return lowered


def detect_language(text: str) -> tuple[str, float]:
    """Returns the ISO 639-1 code and a confidence of 0..1; `und` if there are too few words.

    The script decides where it can. Latin scripts compare function words and the trigrams of those
    words, as in Cavnar and Trenkle, N-Gram-Based Text Categorization (1994), with profiles made of
    the function-word lists.
    """
    sample = without_tokens(text[:20_000])
    letters = _LETTERS.findall(sample.lower())
    total = sum(map(len, letters))
    if total < 3:
        return "und", 0.0
    for code, pattern in _SCRIPTS.items():
        share = len(pattern.findall(sample)) / total
        if share > (0.1 if code == "ja" else 0.3):
            return code, round(min(1.0, 0.5 + share / 2), 3)
    if len(_CYRILLIC.findall(sample)) / total > 0.3:
        return ("uk" if re.search(r"[іїєґ]", sample.lower()) else "ru"), 0.95
    scores = {code: _latin_score(letters, code) for code in STOPWORDS}
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    (best, first), (_, second) = ranked[0], ranked[1]
    if first <= 0.02:
        return "und", 0.0
    confidence = min(1.0, 0.4 + (first - second) / first)
    if not any(word in STOPWORDS[best] for word in letters):
        confidence /= 2  # the shapes of words alone are a weak sign
    return best, round(confidence, 3)


def _latin_score(letters: list[str], code: str) -> float:
    counts = Counter(letters)
    hits = sum(n for word, n in counts.items() if word in STOPWORDS[code])
    signs = sum(n for word, n in counts.items() if set(word) & _LETTERS_OF.get(code, frozenset()))
    profile = _profile(code)
    grams: Counter[str] = Counter()
    for word, n in counts.items():
        for gram in _trigrams(word):
            grams[gram] += n
    norm = math.sqrt(sum(n * n for n in grams.values())) or 1.0
    cosine = sum(n * profile.get(gram, 0.0) for gram, n in grams.items()) / norm
    return hits / len(letters) + 0.3 * cosine + 0.3 * signs / len(letters)


@functools.cache
def _profile(code: str) -> dict[str, float]:
    grams: Counter[str] = Counter()
    for word in STOPWORDS[code]:
        grams.update(_trigrams(word))
    norm = math.sqrt(sum(n * n for n in grams.values()))
    return {gram: n / norm for gram, n in grams.items()}


def _trigrams(word: str) -> list[str]:
    padded = f" {word} "
    return [padded[i : i + 3] for i in range(len(padded) - 2)]
