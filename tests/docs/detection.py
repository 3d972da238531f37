"""The tables of what is detected: categories by detector, labels by language, beginnings of vendors' keys."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final, NamedTuple

from agentflow_security.detect.assignments import find_assignments
from agentflow_security.detect.checksums import find_cards, find_ibans, find_ssns
from agentflow_security.detect.contacts import find_emails, find_ips
from agentflow_security.detect.findings import Detector
from agentflow_security.detect.formats import FORMATS
from agentflow_security.detect.identities import find_identities
from agentflow_security.detect.opaque import find_opaque
from agentflow_security.detect.phones import find_phones
from agentflow_security.detect.secrets import find_secrets
from tests.docs.markdown import code
from tests.docs.markdown import table as markdown_table

PASSWORD: Final = "Tr0ub4" + "dor3!"  # built from parts: no scanner should take this file for a leak
RANDOM: Final = "9fK2" + "xQ7vLm" + "3ZpR8" + "tYwB4n" + "Hc6JdGs1"


class Example(NamedTuple):
    """One thing that a detector finds. The page shows `shown`; a test looks for it with `hidden` in the gap."""

    detector: Detector
    category: str
    where: str
    shown: str  # `…` is a gap where a secret would stand
    hidden: str = ""

    @property
    def text(self) -> str:
        return self.shown.replace("…", self.hidden)


def _secret(detector: Detector, category: str, hidden: str) -> Callable[[str, str], Example]:
    return lambda where, shown: Example(detector, category, where, shown, hidden)


_key_by_form = _secret(find_secrets, "API_KEY", RANDOM)
_password_by_form = _secret(find_secrets, "PASSWORD", PASSWORD)
_password_by_name = _secret(find_assignments, "PASSWORD", PASSWORD)

EXAMPLES: Final = (
    Example(find_emails, "EMAIL_ADDRESS", "anywhere; the letters may be of any script", "jane.doe@example.com"),
    Example(find_phones, "PHONE_NUMBER", "anywhere with a country code", "+44 20 7946 0958"),
    Example(
        find_phones,
        "PHONE_NUMBER",
        "national forms that the numbering plan of one of 18 large countries confirms",
        "(202) 555-0123",
    ),
    Example(find_phones, "PHONE_NUMBER", "any 7 to 15 digits after a word for a telephone", "portable 06 12 34 56 78"),
    Example(find_cards, "CREDIT_CARD", "anywhere; the Luhn checksum and the issuer's range fit", "4111 1111 1111 1111"),
    Example(find_ibans, "IBAN_CODE", "anywhere; length and checksum fit the country", "DE89 3704 0044 0532 0130 00"),
    Example(find_ssns, "US_SSN", "with dashes anywhere; nine digits after a word such as `SSN`", "SSN 536-90-4399"),
    Example(find_ssns, "US_ITIN", "with dashes anywhere; nine digits after a word such as `ITIN`", "ITIN 912-70-1234"),
    Example(
        find_identities, "DE_TAX_ID", "after a word such as `Steuer-ID`; the checksum fits", "Steuer-ID: 86095742719"
    ),
    Example(
        find_identities,
        "FR_NIR",
        "in groups anywhere; 15 digits after a word such as `sécurité sociale`; the checksum fits",
        "2 55 08 14 168 025 38",
    ),
    Example(find_identities, "ES_NIF", "anywhere; the check letter fits", "DNI 12345678Z"),
    Example(find_identities, "ES_NIE", "anywhere; the check letter fits", "NIE X1234567L"),
    Example(find_identities, "IT_FISCAL_CODE", "anywhere; the check letter fits", "RSSMRA85T10A562S"),
    Example(
        find_identities,
        "EU_VAT_ID",
        "after a word such as `VAT`, `USt-IdNr.`, `TVA`, `P.IVA`; the form of the country fits",
        "USt-IdNr.: DE136695976",
    ),
    Example(
        find_identities,
        "PASSPORT",
        "after a word such as `passport`, `Reisepass`, `passeport`, `pasaporte`",
        "passport no. C01X00T47",
    ),
    Example(
        find_identities,
        "DATE_OF_BIRTH",
        "after a word such as `date of birth`, `DOB`, `geboren am`, `née le`",
        "date of birth: 12.03.1985",
    ),
    Example(find_identities, "PIN", "four to eight digits after `PIN`", "PIN: 4711"),
    Example(find_ips, "IP_ADDRESS", "IPv4 and IPv6 anywhere; version numbers are left alone", "203.0.113.77"),
    Example(
        find_secrets,
        "API_KEY",
        "a vendor's beginning (listed below) and as many characters as that vendor's keys have",
        "ghp_…",
        (RANDOM * 2)[:36],
    ),
    _key_by_form("`Authorization` headers and bearer tokens", "Authorization: Bearer …"),
    Example(
        find_secrets,
        "API_KEY",
        "JSON web tokens",
        "eyJ…",
        "hbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NSJ9." + RANDOM,
    ),
    Example(
        find_secrets,
        "API_KEY",
        "webhook URLs of Slack, Discord and Microsoft Teams",
        "https://hooks.slack.com/services/…",
        "T0/B0/" + RANDOM,
    ),
    Example(
        find_secrets,
        "API_KEY",
        "values of a Kubernetes `Secret`",
        "kind: Secret\ndata:\n  a: …",
        "c3VwZXJz" + "ZWNyZXQx",
    ),
    _password_by_form("logins in URLs and connection strings", "postgresql://app:…@db.internal/x"),
    _password_by_form("command lines", "curl --user app:…"),
    _password_by_form("`.netrc` files", "machine example.com login app password …"),
    Example(
        find_secrets, "PASSWORD", "password hashes", "$2b$12$…", "N9qo8uLOickgx2ZMRZoMye" + "IjZAgcfl7p92ldGxad68LJZ"
    ),
    Example(
        find_secrets,
        "PRIVATE_KEY",
        "PEM blocks, also cut off",
        "-----BEGIN …",
        "PRIVATE KEY-----\nMIIB" + RANDOM + "\n-----END " + "PRIVATE KEY-----",
    ),
    Example(
        find_assignments,
        "API_KEY",
        "the value of a name such as `token`, `api_key`, `secret`; it must look random",
        "api_key = …",
        RANDOM,
    ),
    _password_by_name(
        "the value of a name such as `password`, `pwd`, `passphrase`; it may be a plain word", "password: …"
    ),
    _password_by_name(
        "sentences; the value must hold a digit or a special character", "Das Kennwort für das WLAN ist …"
    ),
    Example(
        find_opaque,
        "API_KEY",
        "a lone string of 24 to 100 characters that looks random; UUIDs, hex digests and ids are left alone",
        "…",
        RANDOM,
    ),
)

NAMES: Final = {  # of categories that not everybody knows
    "US_SSN": "US social security number",
    "US_ITIN": "US taxpayer number",
    "DE_TAX_ID": "German tax id",
    "FR_NIR": "French social security number",
    "ES_NIF": "Spanish tax id, also on identity cards",
    "ES_NIE": "Spanish foreigner's id",
    "IT_FISCAL_CODE": "Italian fiscal code",
}

LANGUAGES: Final = (  # language, words for a telephone, words for a password
    ("English", "phone, mobile, call, fax", "password, passphrase, pwd"),
    ("German", "Telefon, Rufnummer, Handy, Durchwahl", "Passwort, Kennwort"),
    ("French", "téléphone, tél., portable, appelez", "mot de passe, mdp"),
    ("Spanish", "teléfono, móvil, llame, fijo", "contraseña, clave de acceso"),
    ("Portuguese", "telefone, telemóvel, celular, ligue", "senha, palavra-passe"),
    ("Italian", "telefono, cellulare, chiama", "password, parola d'accesso"),
    ("Catalan", "", "contrasenya"),
    ("Romanian", "telefon, mobil", "parolă"),
    ("Dutch", "telefoon", "wachtwoord"),
    ("Swedish", "telefon, mobil", "lösenord"),
    ("Danish", "telefon, tlf", "adgangskode, kodeord"),
    ("Norwegian", "telefon, tlf", "passord"),
    ("Icelandic", "", "lykilorð"),
    ("Finnish", "puhelin", "salasana"),
    ("Estonian", "telefon", "parool"),
    ("Lithuanian", "telefonas", "slaptažodis"),
    ("Polish", "telefon, zadzwoń, komórka", "hasło"),
    ("Czech, Slovak", "telefon, mobil", "heslo"),
    ("Hungarian", "telefon, mobil", "jelszó"),
    ("Slovenian", "telefon", "geslo"),
    ("Croatian, Bosnian, Serbian", "telefon, телефон", "lozinka, lozinku, лозинка, лозинку"),
    ("Albanian", "telefon", "fjalëkalim"),
    ("Turkish", "telefon, cep", "şifre, parola"),
    ("Greek", "τηλέφωνο, τηλ., κινητό", "κωδικός πρόσβασης, κωδικό, συνθηματικό"),
    ("Russian", "телефон, моб., мобильный", "пароль"),
    ("Ukrainian", "телефон, мобільний", "пароль"),
    ("Bulgarian", "телефон", "парола"),
    ("Arabic", "هاتف, جوال, موبايل, تلفون", "كلمة المرور, كلمة مرور, كلمة السر"),
    ("Persian", "تلفن, موبایل", "رمز عبور, گذرواژه"),
    ("Hebrew", "טלפון, נייד", "סיסמה, סיסמא"),
    ("Hindi", "फ़ोन, फोन, मोबाइल", "पासवर्ड"),
    ("Bengali", "ফোন, মোবাইল", "পাসওয়ার্ড"),
    ("Thai", "โทร, มือถือ", "รหัสผ่าน"),
    ("Vietnamese", "điện thoại", "mật khẩu"),
    ("Indonesian, Malay", "telepon, ponsel", "kata sandi, kata laluan"),
    ("Chinese", "电话, 電話, 手机, 手機", "密码, 密碼, 口令"),
    ("Japanese", "電話, 携帯", "パスワード"),
    ("Korean", "전화, 휴대폰, 핸드폰, 연락처", "비밀번호, 암호, 패스워드"),
)


def categories() -> str:
    rows = [
        (_named(one.category), code(one.detector.__name__), one.where, "" if "\n" in one.shown else code(one.shown))
        for one in EXAMPLES
    ]
    return markdown_table(("Category", "Detector", "Found", "Example"), rows)


def _named(category: str) -> str:
    return f"{code(category)} ({NAMES[category]})" if category in NAMES else code(category)


def words(cell: str) -> list[str]:
    return [word for word in cell.split(", ") if word]


def languages() -> str:
    rows = [(language, *(", ".join(map(code, words(cell))) for cell in cells)) for language, *cells in LANGUAGES]
    return markdown_table(("Language", "Telephone", "Password"), rows)


def vendors() -> str:
    """Returns the beginnings of all keys that say by themselves what they are, by their first letter."""
    literals = sorted({one.literal for one in FORMATS}, key=lambda literal: literal.strip("$.").lower())
    by_letter = itertools.groupby(literals, key=lambda literal: literal.strip("$.")[0].lower())
    return "\n".join(f"- {', '.join(map(code, group))}" for _, group in by_letter) + "\n"
