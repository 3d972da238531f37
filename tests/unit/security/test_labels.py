"""What tells that a value is private: names of dict keys, labels beside a value, signs between a name and its value."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from agentflow_common import screening
from agentflow_security import machine
from agentflow_worker.models.completions import covered


def protected(value: Any) -> Any:
    return machine.protect(value, lambda category, text: hashlib.sha256(f"{category}\0{text}".encode()).digest()).value


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ({"mot_de_passe": "soleil"}, "soleil"),
        ({"motDePasse": "soleil!x"}, "soleil!x"),
        ({"palavra_passe": "girassol"}, "girassol"),
        ({"userSenha": "girassol"}, "girassol"),
        ({"clave_acceso": "girasol7"}, "girasol7"),
        ({"kodeord": "solsikke7"}, "solsikke7"),
        ({"mdp": "soleil99"}, "soleil99"),
        ({"pw": "sunshine"}, "sunshine"),
    ],
)
def test_a_dict_key_of_several_words_is_a_label(value: dict[str, str], secret: str) -> None:
    assert screening.needs_screening(value)
    assert secret not in repr(protected(value))


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ({"password": {"value": "sunshine"}}, "sunshine"),
        ({"password": {"old": "sunshine", "confirm": "sunshine"}}, "sunshine"),
        ({"env": [{"name": "DB_PASSWORD", "value": "sunshine"}]}, "sunshine"),
        ({"fields": [{"label": "Kennwort", "value": "sonnenschein"}]}, "sonnenschein"),
        ({"fields": [{"id": 7, "label": "ssn", "value": 536904399}]}, "536904399"),
        ({"passport": {"number": "C01X00T47"}}, "C01X00T47"),
        ({"question": "What is your date of birth?", "answer": "12.03.1985"}, "12.03.1985"),
    ],
)
def test_a_value_stands_under_the_name_that_is_split_off(value: Any, secret: str) -> None:
    """`value` and `number` say nothing, so what stands beside or above them is the label."""
    assert screening.needs_screening(value)
    safe = protected(value)
    assert secret not in repr(safe)
    assert protected(safe) == safe
    assert not covered(value, repr(value)), "a text that was screened says nothing about the name of a part of it"


@pytest.mark.parametrize(
    "value",
    [
        {"password": {"type": "string", "minLength": 8}},
        {"name": "password", "value": "string"},
        {"name": "DB_PASSWORD", "value": "${DB_PASSWORD}"},
        {"name": "city", "value": "Springfield"},
        {"title": "How to reset your password", "content": "Click here"},
        {"old": "one", "new": "two"},
    ],
)
def test_what_is_split_off_and_says_nothing_private_stays(value: Any) -> None:
    assert protected(value) == value


@pytest.mark.parametrize("mark", ["$", "#", "@", "{", "&", "*", "<", "%", "!", "~", "("])
def test_a_password_may_begin_with_what_references_begin_with(mark: str) -> None:
    secret = mark + "Tr0ub4" + "dor3"
    assert "ub4" not in repr(protected(f"password: {secret}"))
    assert "ub4" not in repr(protected({"password": secret}))


@pytest.mark.parametrize(
    "reference",
    ["$DB_PASS1", "${DB_pass1}", "$(cat Pass1)", "{{inputs.Pass1}}", "{Pass1}", "%(Pass1)s", "%PASS1%", "<%= Pass1 %>",
     "<Your Pass1>", "@Config.pass1", "#ff00AA"],
)  # fmt: skip
def test_a_reference_to_a_password_stays(reference: str) -> None:
    assert protected(f"password: {reference}") == f"password: {reference}"
    assert protected({"password": reference}) == {"password": reference}


@pytest.mark.parametrize(
    "text",
    ["**Password:** {}", "- **Passwort:** {}", "__Password:__ {}", "Password \u2192 {}", "Password \u2013 {}",
     "Kennwort \u2014 {}", "pw: {}", "PW={}", "\u5bc6\u7801\u662f{}", "\u5bc6\u7801\uff1a{}"],
)  # fmt: skip
def test_a_password_after_markdown_dashes_and_arrows(text: str) -> None:
    secret = "Tr0ub4" + "dor3"
    assert secret not in str(protected(text.format(secret)))


def test_a_long_password_under_a_key_is_found() -> None:
    secret = hashlib.sha512(b"a long one").hexdigest() * 2
    assert secret not in repr(protected({"password": secret}))
