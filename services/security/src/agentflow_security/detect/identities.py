"""Identity numbers of European countries, passports, dates of birth, VAT ids and PINs. Pure.

A number with a strong checksum and an unmistakable form is found anywhere. The others need a label
before them, or a dict key that names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agentflow_security.detect.findings import (
    DATE_OF_BIRTH,
    DE_TAX_ID,
    ES_NIE,
    ES_NIF,
    EU_VAT_ID,
    FR_NIR,
    IT_FISCAL_CODE,
    LABEL_CHARS,
    PASSPORT,
    PIN,
    Finding,
)
from agentflow_security.detect.sentences import spoken

_EDGE: Final = r"(?<![0-9A-Za-z])"
_END: Final = r"(?![0-9A-Za-z])"
# Between a label and its value: `no.`, `(Germany)`, `is`, a colon
_BETWEEN: Final = (
    r"[ ]?(?:no|nr|num|number|nummer|num[eé]ro|n\u00b0|n\u00ba|id|#)?\.?[ ]{0,2}(?:\([^()\n]{1,20}\))?[ ]{0,2}"
    r"(?:is|was|ist|lautet|est|es|\u00e8|\u00e9|:|=|-|#)?[ \t]{0,3}[\"'*]{0,3}[ \t]{0,2}[\"']?"
)

# --- Germany: Steuer-Identifikationsnummer, 11 digits, ISO 7064 mod 11,10 ---

_DE_TAX: Final = re.compile(rf"{_EDGE}[1-9][0-9][ ]?[0-9]{{3}}[ ]?[0-9]{{3}}[ ]?[0-9]{{3}}{_END}")
_DE_TAX_LABEL: Final = re.compile(
    r"steuer[- ]?(?:id\b|identifikation)|\bid-?nr\b|identifikationsnummer|\btin\b|tax[ _-]?(?:payer[ _-]?)?id"
)

# --- France: numéro de sécurité sociale (NIR), 13 characters and a key of 97 - n mod 97 ---

_NIR: Final = re.compile(
    rf"{_EDGE}(?P<body>[12](?P<gap>[ .\u00a0]?)[0-9]{{2}}(?P=gap)(?:0[1-9]|1[0-2]|[2-9][0-9])(?P=gap)"
    r"(?:[0-9]{2}|2[ABab])(?P=gap)[0-9]{3}(?P=gap)[0-9]{3})[ .\u00a0-]?(?P<key>[0-9]{2})" + _END
)
_NIR_LABEL: Final = re.compile(r"s[eé]curit[eé] sociale|\bs[eé]cu\b|\bnir\b|\binsee\b|assur[eé] social")

# --- Spain: DNI/NIF and NIE, a letter by the remainder of 23 ---

_NIF: Final = re.compile(
    rf"{_EDGE}(?P<number>[0-9]{{8}}|[0-9]{{1,2}}\.[0-9]{{3}}\.[0-9]{{3}}|[XYZ][- ]?[0-9]{{7}})"
    rf"[- ]?(?P<letter>[A-Z]){_END}"
)
_NIF_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"

# --- Italy: codice fiscale, 16 characters with a check letter ---

_CODICE: Final = re.compile(
    rf"{_EDGE}[A-Z]{{3}}[ ]?[A-Z]{{3}}[ ]?[0-9LMNP-V]{{2}}[A-EHLMPRST][0-9LMNP-V]{{2}}[ ]?"
    rf"[A-Z][0-9LMNP-V]{{3}}[A-Z]{_END}",
    re.IGNORECASE,
)
_ODD: Final = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16,
         10, 22, 25, 24, 23),
        strict=True,
    )
)  # fmt: skip

# --- VAT ids of the European Union, by label: https://ec.europa.eu/taxation_customs/vies/ ---

_VAT_COUNTRIES: Final = (
    r"atu[0-9]{8}", r"be[ ]?[01][0-9]{3}[. ]?[0-9]{3}[. ]?[0-9]{3}", r"bg[0-9]{9,10}", r"cy[0-9]{8}[a-z]",
    r"cz[0-9]{8,10}", r"de[ ]?[0-9]{3}[ ]?[0-9]{3}[ ]?[0-9]{3}", r"dk[ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?[0-9]{2}",
    r"ee[0-9]{9}", r"el[0-9]{9}", r"es[ ]?[a-z0-9][0-9]{7}[a-z0-9]", r"fi[0-9]{8}",
    r"fr[ ]?[0-9a-z]{2}[ ]?[0-9]{3}[ ]?[0-9]{3}[ ]?[0-9]{3}", r"hr[0-9]{11}", r"hu[0-9]{8}",
    r"ie[0-9][0-9a-z][0-9]{5}[a-z]{1,2}", r"it[ ]?[0-9]{11}", r"lt(?:[0-9]{12}|[0-9]{9})", r"lu[0-9]{8}",
    r"lv[0-9]{11}", r"mt[0-9]{8}", r"nl[ ]?[0-9]{9}b[0-9]{2}", r"pl[ ]?[0-9]{10}", r"pt[ ]?[0-9]{9}",
    r"ro[0-9]{2,10}", r"se[0-9]{12}", r"si[0-9]{8}", r"sk[0-9]{10}", r"gb[ ]?[0-9]{3}[ ]?[0-9]{4}[ ]?[0-9]{2}",
    r"xi[0-9]{9}",
)  # fmt: skip
_VAT: Final = re.compile(
    r"\b(?:vat\b|ust(?:\b|-?id\w{0,8})|umsatzsteuer\w{0,28}|tva\b|p?iva\b|btw\b|moms\b|nip\b|dph\b|alv\b|cif\b|nif\b)"
    r"(?:[- .]{0,2}(?:id\w{0,14}|reg(?:istration)?|intracom\w{0,12}))?[-. ]{0,2}"
    rf"{_BETWEEN}(?P<value>{'|'.join(_VAT_COUNTRIES)}){_END}"
)

# --- by label alone ---

_PASSPORT: Final = re.compile(
    r"(?:passport|reisepass|passnummer|pass-?nr|passeport|pasaporte|passaporto|passaporte|paspoort(?:nummer)?|paszport\w{0,2})"
    rf"(?:[- ]?nummer)?{_BETWEEN}(?P<value>[a-z]{{0,3}}[ ]?[0-9][0-9a-z]{{4,8}}){_END}"
)
_MONTH: Final = (
    r"(?:jan|feb|fév|fev|mar|mär|mrt|maa|apr|avr|abr|kwi|may|mai|maj|mag|mei|jun|jui|giu|cze|jul|lug|lip|aug|aoû|ago|sie|"
    r"sep|set|wrz|oct|okt|ott|out|paź|nov|lis|dec|dez|déc|dic|dis|gru|ene|gen|sty|lut)[^\W\d_]{0,10}\.?"
)
_DATE: Final = (
    r"(?:[0-9]{1,2}[./-][ ]?[0-9]{1,2}[./-][ ]?(?:(?:19|20)[0-9]{2}|[0-9]{2})|"
    r"(?:19|20)[0-9]{2}[-./][0-9]{1,2}[-./][0-9]{1,2}|"
    rf"[0-9]{{1,2}}(?:st|nd|rd|th|er|º|\.)?[ ](?:of |de )?{_MONTH}[ ,]{{1,2}}(?:de |del )?(?:19|20)[0-9]{{2}}|"
    rf"{_MONTH}[ ][0-9]{{1,2}}(?:st|nd|rd|th)?,?[ ](?:19|20)[0-9]{{2}})"
)
_BIRTH: Final = re.compile(
    r"(?:\bdate of birth|\bbirth[ _-]?da(?:te|y)|\bd\.?o\.?b\b\.?|\bborn on|\bgeburts(?:datum|tag)|"
    r"\bgeb(?:oren)?\b\.?(?: am)?|"
    r"\bdate de naissance|\bnée? le|\bfecha de nacimiento|\bnacid[oa] el|\bdata di nascita|\bnat[oa] il|"
    r"\bdata de nascimento|\bnascid[oa] em|\bgeboortedatum|\bgeboren op|\bdata urodzenia|\burodzon[ya]|\bfødt|\bfödd|"
    rf"\bfødselsdato|\bfödelsedatum){_BETWEEN}(?P<value>{_DATE})(?![0-9])"
)
_PIN: Final = re.compile(
    r"(?<!postal )\b(?:pin|geheimzahl|code pin|c[oó]digo pin)(?:[- ]?(?:code|number|nummer|nr\.?|no\.?))?"
    r"(?:[\"']?[ ]?[:=#][ ]{0,3}[\"']?|[ ](?:is|ist|lautet|est|es|è|é)[ ]?:?[ ]?[\"']?)"
    r"(?P<value>[0-9]{4,8})(?![0-9A-Za-z]|[.,][0-9])"
)
_PIN_UPPER: Final = re.compile(
    r"\bPIN(?:[- ]?(?:code|Code|CODE|number|Nummer))?[ ](?P<value>[0-9]{4,8})(?![0-9A-Za-z]|[.,:-][0-9])"
)
_NAMES: Final = (
    (
        re.compile(r"\b(?:passport|reisepass|passeport|pasaporte|passaporto)(?: ?(?:no|nr|num\w*|id))?\Z"),
        re.compile(r"[A-Za-z]{0,3}[ ]?[0-9][0-9A-Za-z]{4,8}\Z"),
        PASSPORT,
    ),
    (
        re.compile(
            r"\b(?:date of birth|birth ?da(?:te|y)|dob|geburtsdatum|date (?:de )?naissance|fecha (?:de )?nacimiento)\Z"
        ),
        re.compile(rf"(?:{_DATE})\Z", re.IGNORECASE),
        DATE_OF_BIRTH,
    ),
    (
        re.compile(r"\b(?:vat|ust|tva|iva|btw)(?: ?(?:id|no|nr|num\w*))*\Z"),
        re.compile(rf"(?:{'|'.join(_VAT_COUNTRIES)})\Z", re.IGNORECASE),
        EU_VAT_ID,
    ),
    (re.compile(r"\b(?:pin|geheimzahl)(?: ?(?:code|number|nummer))?\Z"), re.compile(r"[0-9]{4,8}\Z"), PIN),
)
# A pattern is tried only if the text contains one of these
_LABELLED: Final = (
    (_VAT, EU_VAT_ID, ("vat", "ust", "umsatzst", "tva", "iva", "btw", "moms", "nip", "dph", "alv", "cif", "nif")),
    (_PASSPORT, PASSPORT, ("pass", "paspoort", "paszport", "pasaporte")),
    (_BIRTH, DATE_OF_BIRTH, ("birth", "dob", "d.o.b", "born", "geb", "naiss", "né", "naci", "nasc", "nat",
                             "urod", "fød", "föd")),
    (_PIN, PIN, ("pin", "geheimzahl")),
)  # fmt: skip


def find_identities(text: str, low: str, name: str) -> Iterator[Finding]:
    """Finds identity numbers in the text, and takes the whole text if its dict key names one."""
    named = _words(name) if name else ""
    if named:
        yield from _under_key(text, named)
    yield from _german(text, low, named)
    yield from _french(text, low, named)
    yield from _spanish(text)
    yield from _italian(text)
    for pattern, category, hints in _LABELLED:
        if any(hint in low for hint in hints):
            yield from (Finding(*match.span("value"), category) for match in pattern.finditer(low))
    if "PIN" in text:
        yield from (Finding(*match.span("value"), PIN) for match in _PIN_UPPER.finditer(text))


def _words(name: str) -> str:
    """Returns `dateOfBirth` and `date_of_birth` as `date of birth`."""
    return spoken(name).lower()


def _under_key(text: str, named: str) -> Iterator[Finding]:
    value = text.strip()
    start = len(text) - len(text.lstrip())
    for label, shape, category in _NAMES:
        if label.search(named) and shape.match(value):
            yield Finding(start, start + len(value), category)


def _labelled(label: re.Pattern[str], low: str, start: int, named: str) -> bool:
    return (named != "" and label.search(named) is not None) or (
        label.search(low, max(0, start - LABEL_CHARS), start) is not None
    )


def _german(text: str, low: str, named: str) -> Iterator[Finding]:
    for match in _DE_TAX.finditer(text):
        if is_german_tax_id(match.group().replace(" ", "")) and _labelled(_DE_TAX_LABEL, low, match.start(), named):
            yield Finding(*match.span(), DE_TAX_ID)


def is_german_tax_id(digits: str) -> bool:
    """True if ISO 7064 mod 11,10 fits, and one or two of the first ten digits are repeated."""
    if not 7 <= len(set(digits[:10])) <= 9:
        return False
    product = 10
    for char in digits[:10]:
        total = (int(char) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def _french(text: str, low: str, named: str) -> Iterator[Finding]:
    for match in _NIR.finditer(text):
        digits = re.sub(r"[^0-9A-Z]", "", match["body"].upper())
        number = int(digits.replace("2A", "19").replace("2B", "18")) if digits[5:7] in {"2A", "2B"} else int(digits)
        telling = match["gap"] or _labelled(_NIR_LABEL, low, match.start(), named)
        if telling and 97 - number % 97 == int(match["key"]):
            yield Finding(*match.span(), FR_NIR)


def _spanish(text: str) -> Iterator[Finding]:
    for match in _NIF.finditer(text):
        number = re.sub(r"[^0-9XYZ]", "", match["number"])
        foreign = number[0] in "XYZ"
        digits = str("XYZ".index(number[0])) + number[1:] if foreign else number
        if len(set(digits)) > 1 and _NIF_LETTERS[int(digits) % 23] == match["letter"]:
            yield Finding(*match.span(), ES_NIE if foreign else ES_NIF)


def _italian(text: str) -> Iterator[Finding]:
    for match in _CODICE.finditer(text):
        code = match.group().replace(" ", "").upper()
        total = sum(_ODD[char] for char in code[:15:2]) + sum(
            int(char) if char.isdigit() else ord(char) - 65 for char in code[1:15:2]
        )
        if chr(65 + total % 26) == code[15]:
            yield Finding(*match.span(), IT_FISCAL_CODE)
