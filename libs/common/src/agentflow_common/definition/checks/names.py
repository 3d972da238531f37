"""Checks of the names in conditions and templates: each is a step, an input, or unknown."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from agentflow_common import hints
from agentflow_common.expressions import language as expressions
from agentflow_common.expressions.sandbox import ExpressionError
from agentflow_common.places import Finding, Place

STEP_FIELDS = ("output", "status", "error")
_HYPHENED = re.compile(r"(?<![\w.-])([A-Za-z_]\w*(?:-\w+)+)\.(?:output|status|error)\b")
_WRITE_CEL = "write CEL, for example classify.output.type == 'text'"
_OTHERS_WORDS = {"True": "true", "False": "false", "None": "null", "nil": "null", "undefined": "null"}
OF_TEMPLATES = frozenset(
    {"true", "false", "none", "True", "False", "None", "not", "and", "or", "is", "in", "if", "else"}
)
INDEX = "the item's number"  # what `index` stands for beside an item
OF_CONDITIONS = frozenset(
    {"null", "as", "break", "const", "continue", "for", "function", "import", "let", "loop", "namespace", "package",
     "return", "var", "void", "while"}
)  # fmt: skip
_MISTAKES = (
    (re.compile(r"\{\{"), "a condition is not a template: write the name without {{ }}"),
    (re.compile(r"\b(and|or|not)\b"), "CEL writes && for and, || for or, ! for not"),
    (re.compile(r"(?<![=!<>])=(?!=)|==="), "compare with =="),
    (re.compile(r"^\s*$"), "remove it, or " + _WRITE_CEL),
)


def refers(value: str) -> bool:
    """True if the text is a template or a reference."""
    return expressions.is_template(value) or expressions.parse_reference(value) is not None


def repeated(names: Sequence[str]) -> set[int]:
    """Returns the places in a list of the names that stand before them, too. Linear, for a list may be long."""
    first: dict[str, int] = {}
    return {at for at, name in enumerate(names) if first.setdefault(name, at) != at}


def suggest(name: str, known: Collection[str], what: str = "the steps are") -> str:
    return hints.did_you_mean(name, known, f"{what} {', '.join(itertools.islice(known, 12))}")


def id_findings(place: Place, name: str, *, in_graph: bool, hidden_by: Mapping[str, str]) -> Iterator[Finding]:
    """Yields a problem if templates or conditions would read a node's id as something else.

    hidden_by: the names that have a meaning of their own inside a node, and that node.
    """
    message = ""
    if name in OF_TEMPLATES or name in OF_CONDITIONS:
        message = f"{name!r} is a reserved word of templates or conditions, so they could not refer to the node"
    elif name in {"inputs", "self"} or (in_graph and name == "state"):
        message = f"{name!r} has a meaning of its own in templates and conditions"
    elif name in hidden_by:
        message = f"{name!r} means something else inside the node {hidden_by[name]!r}"
    if message:
        yield place, message, f"call the node {name}_step, or another name"


def local_findings(
    place: Place, name: str, steps: Collection[str], taken: Mapping[str, str], reserved: Collection[str] = ()
) -> Iterator[Finding]:
    """Yields a problem if a value, such as the item of a map, can't have this name in templates and conditions.

    taken: other local names, and what each of them stands for.
    reserved: further names that mean something else there.
    """
    if name in steps or name in taken:
        yield place, f"the name {name!r} is taken by {'a node' if name in steps else taken[name]}", "choose another"
    elif name in OF_TEMPLATES or name in reserved or not name.isidentifier():
        yield place, f"{name!r} can't be a name in templates", "choose another"


def condition_findings(
    place: Place, text: str | None, steps: Collection[str], names: Collection[str], inputs: Collection[str]
) -> Iterator[Finding]:
    """Yields the problems of a condition: its syntax, and names and functions that it can't use.

    names: the names that it may use besides steps and inputs.
    inputs: the declared inputs; if there are none, any name may be an input.
    """
    if text is None:
        return
    try:
        expressions.condition(text)
        unknown = expressions.unknown_functions(text)
    except ExpressionError as error:
        plain = re.sub(r"'[^']*'|\"[^\"]*\"", "''", text)
        yield place, error.message, next((fix for pattern, fix in _MISTAKES if pattern.search(plain)), _WRITE_CEL)
        return
    if hyphened := _hyphened(text, steps):
        yield _minus(place, hyphened)
        return
    for name in unknown:
        yield place, f"there is no function {name!r} in conditions", "compute the value in a step before it"
    read = expressions.condition_steps(text)
    for name in read:
        if name not in steps and name not in names:
            yield place, f"the condition names {name!r}, but there is no such node", suggest(name, steps)
    for name in expressions.condition_variables(text):
        if name in read or name in names or name in inputs:
            continue
        if name in _OTHERS_WORDS:
            yield place, f"the condition uses {name!r}", f"CEL writes {_OTHERS_WORDS[name]}"
        elif name in steps:
            field = re.search(rf"(?<![\w.]){name}\s*\.\s*([A-Za-z_]\w*)", text)
            message = f"the condition reads the step {name!r} itself, which has {', '.join(STEP_FIELDS)}"
            yield place, message, f"write {name}.{_field_of_step(field[1]) if field else 'output'}"
        elif inputs:
            message = f"the condition uses {name!r}, which is neither an input nor a node"
            yield place, message, suggest(name, [*inputs, *steps], "there are")


def template_findings(
    place: Place, text: str, steps: Collection[str], names: Collection[str], inputs: Collection[str]
) -> Iterator[Finding]:
    """Yields the problems of a template: its syntax, and names and fields that it can't use.

    names: the built-in names, and those that have a meaning only inside the node.
    inputs: as in condition_findings.
    """
    try:
        template = expressions.template(text)
    except ExpressionError as error:
        yield place, error.message, "templates hold {{ expressions }} only"
        return
    if hyphened := _hyphened(text, steps):
        yield _minus(place, hyphened)
        return
    fields: Mapping[str, str] = dict(sorted(template.fields))
    for name in sorted(template.variables):
        if name in names or name in inputs:
            continue
        if name not in steps and (inputs or fields.get(name) == "output"):
            message = f"the template uses {name!r}, which is neither an input nor a node"
            yield place, message, suggest(name, [*inputs, *steps], "there are")
    for name, field in sorted(template.fields):
        if name in steps and name not in names and name not in inputs and field not in STEP_FIELDS:
            message = f"the template reads {name + '.' + field!r}, and a step has {', '.join(STEP_FIELDS)}"
            yield place, message, f"write {name}.{_field_of_step(field)}"


def _field_of_step(wanted: str) -> str:
    """Returns the field of a step that may be meant: `output` for `outptu`, and `output.score` for `score`."""
    near = hints.near(wanted, STEP_FIELDS, cutoff=0.7)
    return near[0] if near else f"output.{wanted}"


def _hyphened(text: str, steps: Collection[str]) -> str:
    """Returns the first step with a hyphen in its name that the expression reads, or an empty text."""
    return next((name for name in _HYPHENED.findall(text) if name in steps), "")


def _minus(place: Place, step: str) -> Finding:
    return (
        place,
        f"{step!r} can't stand in an expression: `-` means minus there",
        f"name the node {step.replace('-', '_')}",
    )
