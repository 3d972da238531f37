"""docs/detection.md says what the detectors do: categories, labels, forms, and what is not found."""

from __future__ import annotations

import inspect
import re
import unicodedata

import pytest

from agentflow_common.private_words import PASSWORD_WORDS, PHONE_WORDS
from agentflow_security.detect import CATEGORIES, DETECTORS, detect
from agentflow_security.detect.views import lowered
from tests.docs.detection import EXAMPLES, LANGUAGES, PASSWORD, Example, words
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/detection.md").read_text()
SECRETS = {"API_KEY", "PASSWORD", "PRIVATE_KEY"}
NUMBER = "98765 43210"


def categories(text: str, name: str = "") -> set[str]:
    return {item.category for item in detect(text, name)}


def rows(heading: str) -> list[list[str]]:
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


NOT_DETECTED = [
    (row[0], example) for row in rows("What is not detected") for example in re.findall(r"`([^`]+)`", row[1])
]
FORMS = [(row[0], row[1].strip("`")) for row in rows("Forms of writing") if row[1]]
PHONES = [(language, word) for language, phone, _ in LANGUAGES for word in words(phone)]
PASSWORDS = [(language, word) for language, _, password in LANGUAGES for word in words(password)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: f"{one.category}-{one.where[:30]}")
def test_usage_05_every_example_is_found_by_its_detector_as_its_category(example: Example) -> None:
    assert example.category in {found.category for found in example.detector(example.text, lowered(example.text), "")}
    assert categories(example.text) == {example.category}


def test_usage_05_every_category_and_every_detector_is_in_the_table() -> None:
    assert {example.category for example in EXAMPLES} == CATEGORIES
    assert {example.detector for example in EXAMPLES} == set(DETECTORS)


def test_every_category_that_a_detector_can_name_is_in_its_rows() -> None:
    for module in {inspect.getmodule(detector) for detector in DETECTORS}:
        named = {value for value in vars(module).values() if isinstance(value, str) and value in CATEGORIES}
        assert named == {one.category for one in EXAMPLES if inspect.getmodule(one.detector) is module}, module


@pytest.mark.parametrize(("language", "word"), PHONES)
def test_a_number_is_found_after_each_word_for_a_telephone(language: str, word: str) -> None:
    assert categories(f"{word}: {NUMBER}") == {"PHONE_NUMBER"}


@pytest.mark.parametrize(("language", "word"), PASSWORDS)
def test_a_password_is_found_after_each_word_for_one(language: str, word: str) -> None:
    assert categories(f"{word}: {PASSWORD}") == {"PASSWORD"}


def test_no_word_that_the_detectors_know_is_missing_from_the_table() -> None:
    shown = unicodedata.normalize("NFD", " ".join(cell for _, *cells in LANGUAGES for cell in cells))
    for word in (*PASSWORD_WORDS, *PHONE_WORDS):
        assert unicodedata.normalize("NFD", word) in shown


@pytest.mark.parametrize(("form", "example"), FORMS)
def test_a_value_is_found_in_each_form_of_writing(form: str, example: str) -> None:
    assert categories(example), form


@pytest.mark.parametrize(
    ("value", "name", "category"),
    [
        ("536904399", "ssn", "US_SSN"),
        ("12.03.1985", "dateOfBirth", "DATE_OF_BIRTH"),
        (PASSWORD, "password", "PASSWORD"),
    ],
)
def test_a_key_of_json_is_a_label(value: str, name: str, category: str) -> None:
    assert categories(value, name) == {category}


@pytest.mark.parametrize(("what", "example"), NOT_DETECTED)
def test_usage_05_what_the_page_names_as_a_limit_is_one(what: str, example: str) -> None:
    assert categories(example) == set(), f"docs/detection.md says that {what} are not detected"


@pytest.mark.parametrize(
    "value", ["your-api-key-here", "changeme", "xxxx", "${DB_PASSWORD}", "{{inputs.password}}", "test"]
)
def test_a_placeholder_stays(value: str) -> None:
    assert f"`{value}`" in PAGE
    assert categories(f"password: {value}") == set()
    assert categories(f"api_key = {value}") == set()


def test_no_secret_stands_in_the_page() -> None:
    found = [PAGE[item.start : item.end] for item in detect(PAGE) if item.category in SECRETS]
    assert found == []


def test_the_readme_leads_to_the_page() -> None:
    assert "docs/detection.md" in (ROOT / "README.md").read_text()
