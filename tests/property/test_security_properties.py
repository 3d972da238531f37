"""Laws of protection: reversible, idempotent, never slower than linear, and never past the gate."""

from __future__ import annotations

import hashlib
import re
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentflow_common.screening import TOKEN, contains_token, needs_screening
from agentflow_security import machine
from agentflow_security.detect import detect, phones

SENSITIVE = [
    "jane.doe" + "@example.com", "4111 1111 " + "1111 1111", "DE89 3704 0044 " + "0532 0130 00", "536-90-" + "4399",
    "+44 20 7946 0958", "203.0.113.77", "2001:db8::1", "password=" + "hunter2!", "ghp_" + "a1B2c3D4e5F6" * 3,
    "postgres://u:" + "pw12@h/d", "<EMAIL_ADDRESS:ABCDEF>", "%40", "&#64;", "\\n", "\u00a0",
    "\uff14\uff11", "\x00", "\ud800", "İ",
    "\n", " ", "+44 20\n7946 0958", "(202) 555\n", "0123", "AKIAIOSF\n" + "ODNN7EXAMPLE", "536-90-\n4399",
    "key=" + "wJalrXUtnFEMI/K7", "portable 06 12 34 56 78", "password: " + "Tr0ub4dor&3", "Das Kennwort ist ",
    "mot de passe : ", "passport no. ", "PIN: 12345", "date of birth: 12.03.1985", "12345678Z", "&", "<", "'", '"',
]  # fmt: skip
KEYS = ["password", "api_key", "phone", "ssn", "card_number", "note", "Token", "jane@example.com", ""]
texts = st.lists(st.one_of(st.sampled_from(SENSITIVE), st.text(max_size=8)), max_size=6).map("".join)
numbers = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.sampled_from([int("4111" * 1 + "1" * 12), 2025550123])
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.sampled_from(KEYS), texts), inner, max_size=4)
    ),
    max_leaves=12,
)
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def digest(category: str, value: str) -> bytes:
    return hashlib.sha256(f"{category}\0{value}".encode("utf-8", "surrogatepass")).digest()


@quick
@given(values)
def test_protection_is_reversible_and_idempotent(value: Any) -> None:
    once = machine.protect(value, digest)
    twice = machine.protect(once.value, digest)
    assert twice.value == once.value
    assert twice.counts == {}
    originals = {token: secret.value for token, secret in once.secrets.items()}
    restored = machine.restore(once.value, originals, 10**6)
    assert restored.value == value
    assert restored.total == sum(once.counts.values())
    assert contains_token(once.value) or not once.counts
    assert all(TOKEN.fullmatch(token) for token in once.secrets)


@quick
@given(values)
def test_whatever_is_found_needed_screening(value: Any) -> None:
    if machine.protect(value, digest).counts:
        assert needs_screening(value)


def test_trivial_values_need_no_screening() -> None:
    value: Any
    for value in (None, True, 7, 999_999, 0.5, "ok", "done", {"status": "done well", "count": 3, "items": [1, 2]}):
        assert not needs_screening(value)
    for value in ("a@b.co", {"password": "abcdef"}, 4_111_111_111_111_111, {"x": ["10.0.0.1"]}):
        assert needs_screening(value)


HOSTILE = [
    "a", "1 ", "1\n", "(1", "@", "a@a.", "::1 ", "+1 202 555 0123 ", "password=", 'secret: \\"', "bearer=",
    "eyJaaaaaaaaaaa.", "://a:b,", "-----BEGIN RSA " + "PRIVATE KEY-----", "GB29 ", "%40", '"a@', "curl -u a:b", "aB3",
    "\u00a0", "key key = ", "1234\n", "(202)\n", "+44 20\n", "+44 20\n7946 0958\n", "phone 12\n", "536-\n", "AKIA1\n",
    "key=aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0\n", "password:&<;(", "pwd:a&b;c<d>e ", 'password: "\\"', "secret: '''",
    "pass=a'b", "pwd=a(b)c(d", "kennwort ist 1 ", "das passwort f\u00fcr das neue netz 1 ist ", "password: a b c d 1!",
    "portable 06 12 34 ",
    "iva ", "vat no. ", "passport ", "geb. 1.1.", "pin: ", "1 85 05 78 006 ", "12345678", "RSSMRA85", "steuer-id 1",
]  # fmt: skip


@pytest.mark.parametrize("size", [300_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_texts_stay_linear(piece: str, size: int) -> None:
    """Ten times the text takes ten times as long. A quadratic pattern would take a hundred times as long."""
    text = (piece * (size // len(piece) + 1))[:size]
    detect(text[:1000])  # loads what is loaded at first use
    assert seconds_of(text) < 25 * seconds_of(text[: size // 10]) + 0.1


def seconds_of(text: str) -> float:
    """Returns the processor time that a text takes."""
    began = time.process_time()
    detect(text)
    return time.process_time() - began


@pytest.mark.parametrize("label", [phones._BEFORE, phones._AFTER], ids=["before", "after"])
@given(st.data())
def test_a_text_without_a_part_of_a_label_has_no_label(label: re.Pattern[str], data: st.DataObject) -> None:
    assert phones._Labels(data.draw(st.from_regex(label))).possible


def test_a_short_text_is_quick() -> None:
    text = "Send the report for case 4711 to jane.doe@example.com by 2024-01-15, or call +44 20 7946 0958. " * 3
    detect(text)
    began = time.process_time()
    for _ in range(200):
        detect(text[:200])
    assert (time.process_time() - began) / 200 < 0.0015  # measured: 0.15 ms on an idle core
