"""The rules of prose in CONTRIBUTING.md: `python -m tests.architecture.prose` lists nothing."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.prose import COMMANDS, Passage, findings, is_prose, judge, without_verb
from tests.architecture.test_stack_house_rules import tracked


def test_nothing_breaks_the_rules() -> None:
    found = [str(finding) for path in tracked() if is_prose(path) for finding in findings(path)]
    assert found == [], "CONTRIBUTING.md has the rules"


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


def verbless(text: str, path: str = "a.py", decorator: str = "", name: str = "_go") -> list[str]:
    code = f'{decorator}\ndef {name}() -> None:\n    """{text}"""\n'
    return [finding.text for finding in without_verb(path, ast.parse(code))]


@pytest.mark.parametrize(
    "text",
    [
        "Returns the state.",
        "Percent-encodes a text.",
        "True if it ended.",
        "True\n    for a template.",
        "Calls `f`.",
    ],
)
def test_a_function_begins_with_a_verb(text: str) -> None:
    assert verbless(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "The state of a run.",
        "What a run may do.",
        "Whether it ended.",
        "`a -> b` as its parts.",
        "Messages on a subject.",
        "Return the state.",
        "True",
        "steps: those that ended.",
    ],
)
def test_a_function_does_not_begin_with_a_noun_or_an_example(text: str) -> None:
    assert verbless(text) == [f"{' '.join(text.split())} ..."]


def test_a_property_may_begin_with_a_noun_and_a_command_addresses_its_reader() -> None:
    assert verbless("The state of a run.", decorator="@property") == []
    assert verbless("Show the run.", COMMANDS + "run.py", name="show") == []
    assert verbless("Show the run.", COMMANDS + "run.py", name="_show")


def test_a_class_explains_its_fields_on_their_lines() -> None:
    assert lines("A step. lane: its lane. at: ms since the epoch; by: the actor.", is_class=True)
    assert lines("A step. at: ms since the epoch.", is_class=True) == []


def test_a_sentence_has_an_upper_bound() -> None:
    assert lines("word " * 41 + ".", bounded=True)
    assert lines(("word " * 39 + ". ") * 3, bounded=True) == []


def test_a_finding_names_the_line_of_its_words() -> None:
    (finding,) = judge("a.md", Passage(10, "first\nsecond is\ntold so"))
    assert (finding.path, finding.line) == ("a.md", 12)
