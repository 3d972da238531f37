"""Identity numbers of the large European languages, with and without a label."""

from __future__ import annotations

import pytest

from agentflow_security.detect import detect
from agentflow_security.detect.identities import is_german_tax_id


def categories(text: str, name: str = "") -> set[str]:
    return {item.category for item in detect(text, name)}


@pytest.mark.parametrize(
    ("text", "category", "value"),
    [
        ("Steueridentifikationsnummer 86 095 742 719", "DE_TAX_ID", "86 095 742 719"),
        ("n\u00b0 de s\u00e9curit\u00e9 sociale : 185057800608491", "FR_NIR", "185057800608491"),
        ("12.345.678-Z", "ES_NIF", "12.345.678-Z"),
        ("Mi NIE es Y8063915-Z.", "ES_NIE", "Y8063915-Z"),
        ("codice fiscale rssmra85t10a562s", "IT_FISCAL_CODE", "rssmra85t10a562s"),
        ("VAT no. GB 123 4567 89", "EU_VAT_ID", "GB 123 4567 89"),
        ("TVA intracommunautaire : FR 40 303 265 045", "EU_VAT_ID", "FR 40 303 265 045"),
        ("Partita IVA: IT12345678901", "EU_VAT_ID", "IT12345678901"),
        ("BTW-nummer NL123456789B01", "EU_VAT_ID", "NL123456789B01"),
        ("Reisepass-Nr.: C01X00T47", "PASSPORT", "C01X00T47"),
        ("Passeport n\u00b0 12AB34567", "PASSPORT", "12AB34567"),
        ("Mi pasaporte es AAA123456", "PASSPORT", "AAA123456"),
        ("geboren am 12. M\u00e4rz 1985", "DATE_OF_BIRTH", "12. M\u00e4rz 1985"),
        ("n\u00e9e le 3 juin 1990", "DATE_OF_BIRTH", "3 juin 1990"),
        ("fecha de nacimiento: 12 de marzo de 1985", "DATE_OF_BIRTH", "12 de marzo de 1985"),
        ("nato il 12/03/1985", "DATE_OF_BIRTH", "12/03/1985"),
        ("was born on March 12, 1985.", "DATE_OF_BIRTH", "March 12, 1985"),
        ("DOB 1985-03-12", "DATE_OF_BIRTH", "1985-03-12"),
        ("Ihre PIN lautet 4711.", "PIN", "4711"),
        ("code PIN : 1234", "PIN", "1234"),
    ],
)
def test_usage_05_identities_of_the_large_european_languages(text: str, category: str, value: str) -> None:
    assert [(item.category, text[item.start : item.end]) for item in detect(text)] == [(category, value)]


@pytest.mark.parametrize(
    ("name", "value", "category"),
    [
        ("dateOfBirth", "12.03.1985", "DATE_OF_BIRTH"),
        ("pin", "4711", "PIN"),
        ("pin_code", "471112", "PIN"),
        ("passport_number", "C01X00T47", "PASSPORT"),
        ("vat_id", "DE136695976", "EU_VAT_ID"),
        ("steuerId", "86095742719", "DE_TAX_ID"),
    ],
)
def test_usage_05_a_dict_key_is_a_label(name: str, value: str, category: str) -> None:
    assert categories(value, name) == {category}


@pytest.mark.parametrize(
    "text",
    [
        "Steuer-ID: 86095742718",  # the check digit is wrong
        "order 86095742719",
        "1 85 05 78 006 084 36",
        "185057800608491",
        "DNI 12345678A, 00000000T",
        "NIE X1234567M",
        "RSSMRA85T10A562T",
        "part DE136695976",
        "Passport control 12345, passport holders 2024",
        "the company was born in 1985, released on 12.03.1985",
        "GPIO pin 12, pinned: 1234, PIN 2024-01, version pin = 1234.5",
        "Its postal pin code is 342312",
        "private 123456789, derivative 12345678",
    ],
)
def test_usage_05_numbers_without_a_label_or_with_a_wrong_check_digit_stay(text: str) -> None:
    assert categories(text) == set()


def test_usage_05_the_german_tax_id_follows_mod_11_10() -> None:
    assert is_german_tax_id("86095742719")
    assert [end for end in "0123456789" if is_german_tax_id("8609574271" + end)] == ["9"]
    assert not is_german_tax_id("12345678903")  # no digit is repeated
