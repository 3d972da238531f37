"""The shipped document, as Markdown and as the PDF that `file.read` extracts: nothing planted stays readable."""

from __future__ import annotations

import hashlib
import re

import pytest
import yaml

from agentflow_security import machine
from agentflow_worker.tools import documents
from tests.support.paths import EXAMPLES

DATA = EXAMPLES / "data"
PLANTED = yaml.safe_load((DATA / "planted.yaml").read_text())
# Pieces that stand for something else elsewhere in the document: words, and a digit group of an amount
HARMLESS = re.compile(r"[A-Za-z]+")


def _digest(category: str, value: str) -> bytes:
    return hashlib.sha256(f"{category}\0{value}".encode()).digest()


def _text(name: str) -> str:
    return documents.parse((DATA / name).read_bytes(), name).text


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _pieces(value: str) -> set[str]:
    """The value, and what is left of it where a break, a blank or a sign has cut it: digits and keys, no words."""
    parts = {part for part in re.split(r"[^A-Za-z0-9]+", value) if len(part) >= 4 and not HARMLESS.fullmatch(part)}
    digits = re.sub(r"[^0-9]", "", value)
    halves = {part[: len(part) // 2] for part in parts if len(part) >= 12} | {
        part[len(part) // 2 :] for part in parts if len(part) >= 12
    }
    return parts | halves | {value} | ({digits[-4:]} if len(digits) >= 8 else set())


@pytest.mark.parametrize("name", ["vendor_review.md", "vendor_review.pdf"])
def test_nothing_planted_stays_readable(name: str) -> None:
    protected = machine.protect(_text(name), _digest)
    text = _flat(protected.value)
    assert protected.counts == {category: len(values) for category, values in PLANTED["planted"].items()}
    left = [
        (category, value, piece)
        for category, values in PLANTED["planted"].items()
        for value in values
        for piece in _pieces(value)
        if piece in text and not any(piece in kept for kept in PLANTED["kept"])
    ]
    assert left == []
    assert [kept for kept in PLANTED["kept"] if kept not in text] == []


@pytest.mark.parametrize("at", range(1, 6))
def test_nothing_planted_stays_readable_wherever_lines_break(at: int) -> None:
    """Numbers that prove what they are, broken at each of their blanks."""
    for category in ("PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE"):
        for value in PLANTED["planted"][category]:
            groups = value.split(" ")
            if at >= len(groups):
                continue
            text = f"Please note {' '.join(groups[:at])}\n{' '.join(groups[at:])}, as agreed."
            protected = machine.protect(text, _digest)
            assert protected.counts == {category: 1}, text
            assert re.fullmatch(r"Please note <[A-Z_]+:[A-Z2-7]+>, as agreed\.", protected.value), protected.value
