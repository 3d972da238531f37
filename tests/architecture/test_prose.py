"""The rules of prose in CONTRIBUTING.md: what `python -m tests.architecture.prose` lists may only become less."""

from __future__ import annotations

import pytest

from tests.architecture.prose import Passage, allowed, judge, left


def test_no_package_has_more_findings_than_it_had() -> None:
    limits = allowed()
    more = {package: count for package, count in left().items() if count > limits.get(package, 0)}
    assert more == {}, "python -m tests.architecture.prose <package> lists them; CONTRIBUTING.md has the rules"


def lines(text: str, **kind: bool) -> list[str]:
    return [finding.remedy for finding in judge("a.py", Passage(1, text, **kind))]


@pytest.mark.parametrize(
    "text",
    [
        "two branches of\nwhich one is left out",
        "for whoever asks",
        "a definition that is none",
        "'x' is no signal's name",
        "it is nobody's turn",
        "it stays his until then",
        "the caller is told at once",
        "events that tell of an error",
        "a word about the step came late",
        "a lease that is held",
        "the way to mend it",
        "it waits for ever",
        "what the log says of a lane",
        "nobody knows what became of it",
    ],
)
def test_each_rule_finds_its_construction_and_says_what_to_write(text: str) -> None:
    assert lines(text)


@pytest.mark.parametrize(
    "text",
    [
        "`held` and `told` are identifiers",
        "there is no such run, and there are none of its steps",
        "the value is None until it is set",
        "it is no longer needed",
        "the tellers of the household ought-not",
        "Returns what is left.",
    ],
)
def test_plain_english_is_left_alone(text: str) -> None:
    assert lines(text, is_docstring=True) == []


@pytest.mark.parametrize("text", ["What a run may do.", "Whether it ended.", "How many are left."])
def test_a_docstring_begins_with_a_verb_or_a_noun(text: str) -> None:
    assert lines(text, is_docstring=True)
    assert lines(text) == []


def test_a_class_explains_its_fields_on_their_lines() -> None:
    assert lines("A step. lane: its lane. at: ms since the epoch; by: the actor.", is_class=True)
    assert lines("A step. at: ms since the epoch.", is_class=True) == []


def test_a_sentence_has_an_upper_bound() -> None:
    assert lines("word " * 41 + ".", bounded=True)
    assert lines(("word " * 39 + ". ") * 3, bounded=True) == []


def test_a_finding_names_the_line_of_its_words() -> None:
    (finding,) = judge("a.md", Passage(10, "first\nsecond is\ntold so"))
    assert (finding.path, finding.line) == ("a.md", 12)
