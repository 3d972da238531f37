"""Where phone numbers and passwords begin and end: national forms, special characters, other languages."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from agentflow_common.screening import needs_screening
from agentflow_security import machine
from agentflow_security.detect import detect

# built from parts: no scanner should take this file for a leak
SUMMER = "Somm" + "er2026!"
TROUB = "Tr0ub" + "4dor"
HUNTER = "hunt" + "er2"
WINTER = "Winter " + "2026 Haus!"
ABC = "abc" + "&def"
TAGGED = "abc" + "<def>ghi"


def found(text: str, name: str = "") -> list[tuple[str, str]]:
    return [(item.category, text[item.start : item.end]) for item in detect(text, name)]


def protected(value: Any) -> Any:
    return machine.protect(value, lambda category, text: hashlib.sha256(f"{category}\0{text}".encode()).digest()).value


PAIRS = ("06 12 34 56 78", "06.12.34.56.78", "06-12-34-56-78", "06/12/34/56/78", "01 23 45 67 89", "01.23.45.67.89")


@pytest.mark.parametrize("number", PAIRS)
@pytest.mark.parametrize(
    "label", ["portable ", "Portable : ", "tél. ", "Tél : ", "Téléphone ", "mobile: ", "fax ", "appelez le ", ""]
)
def test_usage_01_french_numbers_in_counting_pairs_are_phone_numbers(label: str, number: str) -> None:
    assert found(f"{label}{number}, merci") == [("PHONE_NUMBER", number)]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Rufnummer 04102 / 8 03-0", "04102 / 8 03-0"),
        ("Rufnummer der Zentrale: 04102 / 8 03-0.", "04102 / 8 03-0"),
        ("Durchwahl: 04102 / 8 03-12", "04102 / 8 03-12"),
        ("Handy 0170/1234567", "0170/1234567"),
        ("móvil 612 34 56 78", "612 34 56 78"),
        ("Tfno. 91 123 45 67", "91 123 45 67"),
        ("Telf.: 91 123 45 67", "91 123 45 67"),
        ("telemóvel 912 345 678", "912 345 678"),
        ("Cellulare: 347 123 4567", "347 123 4567"),
        ("Telefoonnummer 020-1234567", "020-1234567"),
        ("GSM 0475 12 34 56", "0475 12 34 56"),
        ("Tlf. 12 34 56 78", "12 34 56 78"),
        ("kom. 501 234 567", "501 234 567"),
        ("Puh. 040 1234567", "040 1234567"),
        ("Desk: 555-0199 1234", "555-0199 1234"),
    ],
)
def test_usage_01_national_forms_after_a_label(text: str, number: str) -> None:
    assert found(text) == [("PHONE_NUMBER", number)]


def test_usage_01_a_dict_key_is_a_label() -> None:
    for name in ("portable", "téléphone", "rufnummer", "telefoon", "tlf", "móvil"):
        assert found("12 34 56 78", name) == [("PHONE_NUMBER", "12 34 56 78")], name


@pytest.mark.parametrize(
    "text",
    [
        "Tel. 05.06.24",
        "le 05/06/24 12:30",
        "06.12.34, 07.12.34",
        "01 02 03 04 05",
        "01-02-03-04-05",
        "Handelsregister HRB 04102 / 8 03-0",
        "tel: 2024-06-12",
        "rows 06 12 34 56",
    ],
)
def test_usage_01_dates_and_lists_are_not_phone_numbers(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"password: {TROUB}&3", f"{TROUB}&3"),
        (f"password={TROUB}&3 # note", f"{TROUB}&3"),
        (f"export DB_PASSWORD={TROUB}$3 && run", f"{TROUB}$3"),
        (f"--password={TROUB}&3 --verbose", f"{TROUB}&3"),
        (f"password: {TROUB};x9", f"{TROUB};x9"),
        (f"password: {HUNTER}{{x}}", f"{HUNTER}{{x}}"),
        (f"PASSWORD={HUNTER}(x)y", f"{HUNTER}(x)y"),
        (f"PASSWORD={TROUB}'s9!", f"{TROUB}'s9!"),
        (f"password: {ABC}", ABC),
        (f"password: {TAGGED}", TAGGED),
        (f"password={TAGGED}", TAGGED),
        (f"| password | {TROUB}&3 |", f"{TROUB}&3"),
        (f'password: "{WINTER}"', WINTER),
        (f"password: {WINTER}", WINTER),
        (f'{{"password": "{WINTER}"}}', WINTER),
        (f'<user password="{WINTER}"/>', WINTER),
        (f"Passwort: \u201e{WINTER}\u201c", WINTER),
        (f"password='it''{HUNTER}'", f"it''{HUNTER}"),
        (f'password = "ab\\"{HUNTER}" # note', f'ab\\"{HUNTER}'),
        (f'{{\\"password\\": \\"ab\\\\\\"{HUNTER}\\"}}', f'ab\\\\\\"{HUNTER}'),
        ("<password>abc&amp;def</password>", "abc&amp;def"),
        (f"<password><![CDATA[{ABC}12]]></password>", f"{ABC}12"),
        (f"Server=h;Password={TROUB};Initial Catalog=d", TROUB),
        (f"Password={TROUB};x9;Database=d", f"{TROUB};x9"),
        (f"https://x.io/?password={TROUB}&x=3", TROUB),
        (f"user=joe&password={TROUB}&remember", TROUB),
        (f"password={TROUB}&amp;next=3", TROUB),
        (f"<b>password: {HUNTER}</b>", HUNTER),
        (f"<p>password: {HUNTER}<br>next</p>", HUNTER),
        (f"connect(password={HUNTER})(x)", HUNTER),
        (f"{{user: joe, password: {HUNTER}}}", HUNTER),
        (f"mysql -u root -p {TROUB}$x%9 db", f"{TROUB}$x%9"),
    ],
)
def test_usage_02_a_password_is_found_to_its_last_character(text: str, value: str) -> None:
    assert found(text) == [("PASSWORD", value)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"token: {TROUB}12345&ghi789JKL", f"{TROUB}12345&ghi789JKL"),
        (f"SECRET_KEY=x7$k(&d){TROUB}1Lm", f"x7$k(&d){TROUB}1Lm"),
        (f"API_KEY=k9{TROUB}1x(6)7890QW", f"k9{TROUB}1x(6)7890QW"),
        (f"secret='x7\\'{TROUB}12efgh34'", f"x7\\'{TROUB}12efgh34"),
    ],
)
def test_usage_02_a_key_is_found_to_its_last_character(text: str, value: str) -> None:
    assert found(text) == [("API_KEY", value)]


def test_usage_02_a_url_login_with_an_at_sign_leaves_nothing() -> None:
    text = protected(f"https://joe:{TROUB}@x9@service.internal/v2")
    assert TROUB not in text
    assert "x9" not in text


@pytest.mark.parametrize(
    "text",
    [
        "password: Option<List>, name: Vec<u8>",
        "if (password=a&&b) {",
        "password=hash(x)",
        "password = foo[bar]",
        "password: &str",
        "$pwd = \\$_POST['x']",
        "password: Must be 8 characters!",
        'password: "Enter 8 characters or more!"',
        "password='a' user='b2'",
        "f'password={x}'",
        "token = foo1(bar2)",
        "key = a[b2]",
        "secret_key=hashlib.sha256(session.encode()).digest()",
        "secret:[a-zA-Z0-9/_+=.@-]+$",
        "password_cb = CFUNCTYPE(c_int, STRING)",
    ],
)
def test_usage_02_code_and_messages_are_not_passwords(text: str) -> None:
    assert [item for item in found(text) if item[1] != "Option"] == []


@pytest.mark.parametrize(
    "text",
    [
        "Das Kennwort ist {}",
        "Das Kennwort für das neue WLAN ist {}",
        "Das Passwort lautet: {}",
        "Mein Passwort heißt jetzt {}",
        "Passwort für Anna: {}",
        "Le mot de passe est {}",
        "Le mot de passe du wifi est : {}",
        "Mot de passe : {}",
        "La contraseña es {}",
        "La contraseña del servidor es: {}",
        "La clave de acceso es {}",
        "La password è {}",
        "La password del wifi è {}",
        "A senha é {}",
        "A palavra-passe é {}",
        "Het wachtwoord is {}",
        "Hasło to {}",
        "Hasło do wifi to {}",
        "Lösenordet är {}",
        "Adgangskoden er {}",
        "Salasana on {}",
        "Heslo je {}",
        "Пароль: {}",
        "密码: {}",
        "The password for the staging database is {}",
        "Please change your password to {}",
    ],
)
def test_usage_03_passwords_in_sentences_of_other_languages(text: str) -> None:
    assert found(text.format(SUMMER)) == [("PASSWORD", SUMMER)]


@pytest.mark.parametrize(
    "text",
    [
        "Das Passwort ist zu kurz (mindestens 8 Zeichen)!",
        "Das Passwort ist 8-stellig und SHA256-gehasht.",
        "Das Passwort wird nach 90 Tagen ungültig.",
        "Le mot de passe doit contenir au moins 8 caractères.",
        "Le mot de passe est incorrect.",
        "La contraseña es obligatoria y caduca en 30 días.",
        "Palabras clave: renal, 2026",
        "Twoje hasło jest nieprawidłowe 2 razy",
        "The password was changed on 2024-01-15, see step 2",
        "The password is at least 8 characters",
        "A password is 8-digit or longer, hashed with SHA256",
    ],
)
def test_usage_03_what_is_said_about_passwords_stays(text: str) -> None:
    assert found(text) == []


def test_usage_03_a_dict_key_of_another_language_is_a_label() -> None:
    for name in ("kennwort", "contraseña", "senha", "wachtwoord", "hasło", "heslo"):
        value = {name: "sonnen" + "schein"}
        assert needs_screening(value), name
        assert protected(value)[name].startswith("<PASSWORD:"), name
