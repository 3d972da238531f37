"""Prompts, with no I/O, clock or chance: their checks, references, identity and rendering.

A prompt version is immutable. Its identity is the SHA-256 of the texts and parameters that a model
gets. A version made from identical content is the same version.
"""

from __future__ import annotations

import re
import traceback
from typing import Any, Final, NamedTuple

import jinja2.meta
import msgspec
from jinja2 import Template, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError, TemplateError, UndefinedError

from agentflow_common import ids
from agentflow_common.errors import InvalidError, NotFoundError, Problem
from agentflow_common.rpc import CreatePromptRequest, PromptText, PromptVersion
from agentflow_prompt import schema
from agentflow_prompt.sandbox import OUTPUT_CHARS_MAX, SELF, BoundError, PromptEnvironment, RefusedError, metered

TEMPLATE_BYTES_MAX: Final = 64 * 1024
DESCRIPTION_CHARS_MAX: Final = 4096
OUTPUT_TOKENS_DEFAULT: Final = 1024
OUTPUT_TOKENS_MAX: Final = 1_000_000
LABELS_MAX: Final = 16  # that one creation sets
LABELS_OF_PROMPT_MAX: Final = 100
_LABEL_FIX: Final = "start with a letter; letters, digits, '_', '.', '-'; not 'latest'"
LATEST: Final = "latest"
TASKS: Final = (
    "summarize", "keywords", "classify", "translate", "detect_language", "answer", "moderate", "entities",
)  # fmt: skip
_CONTENT: Final = ("template", "system", "description", "inputs_schema", "task", "max_output_tokens", "temperature")
_LABEL: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}\Z")

environment: Final = PromptEnvironment()


class Ref(NamedTuple):
    """A parsed reference.

    At most one of version and label is set; without both it is the latest version.
    """

    name: str
    version: int | None = None
    label: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.version or self.label or LATEST}"


class Compiled(NamedTuple):
    text: Template
    system: Template | None
    required: frozenset[str]


def parse_ref(text: str) -> Ref:
    """Parses `name`, `name@3` or `name@label`. Raises InvalidError."""
    name, at, rest = text.partition("@")
    ids.check_token(name, "prompt")
    if not at or rest == LATEST:
        return Ref(name)
    if rest.isascii() and rest.isdigit() and 0 < len(rest) < 10 and int(rest) > 0:
        return Ref(name, version=int(rest))
    if _LABEL.match(rest):
        return Ref(name, label=rest)
    fix = "write name, name@3 or name@label"
    raise InvalidError.at("prompt_ref", f"prompt reference {text[:120]!r} is not valid", fix)


def parse_name(text: str) -> Ref:
    """Parses the name of a prompt. Raises InvalidError if a version or a label follows it."""
    ref = parse_ref(text)
    if "@" in text:
        raise InvalidError.at("name", f"{text[:120]!r} names a version", f"give the name alone: {ref.name}")
    return ref


def _is_label(text: str) -> bool:
    return text != LATEST and _LABEL.match(text) is not None


def check_label(label: str) -> None:
    """Raises InvalidError if it is not a label."""
    if not _is_label(label):
        raise InvalidError.at("label", f"{label[:40]!r} is not a label", _LABEL_FIX)


def not_found(ref: Ref | str, latest: int = 0) -> NotFoundError:
    """Returns the error for an unknown prompt. latest: the newest version of the name, 0 if there
    is none.
    """
    name = ref.name if isinstance(ref, Ref) else str(ref)
    if latest:
        why, fix = f"{name!r} has versions 1 to {latest}", f"use {name}@{latest}, or a label that exists"
        about = f"prompt {str(ref)!r} does not exist: {why}"
    else:
        about = why = f"prompt {name!r} does not exist"
        fix = "correct the name, or create it: agentctl prompt create"
    return NotFoundError(about, problems=(Problem("prompt_ref", why, fix),))


def check_new(request: CreatePromptRequest) -> CreatePromptRequest:
    """Returns the request with its defaults. Raises InvalidError with every problem at once."""
    problems = [*_check_fields(request), *schema.check(request.inputs_schema)]
    for place, source in (("template", request.template), ("system", request.system)):
        problem = check_template(place, source)
        if problem is not None:
            problems.append(problem)
    if problems:
        raise InvalidError.of(problems, f"prompt {request.name[:80]!r} is not valid")
    return msgspec.structs.replace(request, max_output_tokens=request.max_output_tokens or OUTPUT_TOKENS_DEFAULT)


def _check_fields(request: CreatePromptRequest) -> list[Problem]:
    problems: list[Problem] = []
    for place, value in (("org", request.org), ("name", request.name)):
        try:
            ids.check_token(value, place)
        except InvalidError as error:
            problems.extend(error.problems)
    if not request.template.strip():
        problems.append(Problem("template", "is empty", "write the text that the model is asked"))
    if len(request.description) > DESCRIPTION_CHARS_MAX or "\x00" in request.description:
        problems.append(
            Problem("description", f"longer than {DESCRIPTION_CHARS_MAX} characters or not text", "shorten it")
        )
    if request.task and request.task not in TASKS:
        problems.append(
            Problem("task", f"{request.task[:40]!r} is not a task", f"use one of {', '.join(TASKS)}, or leave it out")
        )
    if not 0 <= request.max_output_tokens <= OUTPUT_TOKENS_MAX:
        problems.append(Problem("max_output_tokens", "out of range", f"use 1 to {OUTPUT_TOKENS_MAX:,}"))
    if not 0.0 <= request.temperature <= 2.0:
        problems.append(Problem("temperature", "out of range", "use 0 to 2"))
    if len(request.labels) > LABELS_MAX:
        problems.append(Problem("labels", f"more than {LABELS_MAX}", "use fewer"))
    problems.extend(
        Problem("labels", f"{label[:40]!r} is not a label", _LABEL_FIX)
        for label in request.labels
        if not _is_label(label)
    )
    return problems


def check_template(place: str, source: str) -> Problem | None:
    """Returns the problem of a template, with its line, or None."""
    size = len(source.encode())
    if size > TEMPLATE_BYTES_MAX:
        return Problem(place, f"is {size:,} bytes", f"keep it under {TEMPLATE_BYTES_MAX:,}; pass long text as an input")
    if "\x00" in source:
        return Problem(place, "contains a NUL character", "remove it")
    try:
        environment.from_string(source)
    except TemplateSyntaxError as error:
        return Problem(
            f"{place} line {error.lineno}", error.message or "syntax error", _syntax_fix(error.message or "")
        )
    except RefusedError as error:
        return Problem(f"{place} line {error.lineno}", *_split(str(error)))
    except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError):
        return Problem(place, "is nested too deeply or contains a number that is too long", "simplify it")
    return None


def _split(message: str) -> tuple[str, str]:
    what, _, fix = message.partition("; ")
    return what, fix


def _syntax_fix(message: str) -> str:
    if "end of template" in message or "Encountered unknown tag 'end" in message:
        return "close every {% if %}, {% for %} and {{ }} in the order in which they were opened"
    if "unknown tag" in message:
        return "prompts have if, for, set, macro, filter, call and raw"
    return "write {{ name }} for a value and {% raw %}...{% endraw %} around braces that are text"


def version_of(request: CreatePromptRequest, version: int, created_at: int) -> PromptVersion:
    """Returns the version that the checked request makes. created_at: ms since the epoch, 0 if not
    stored yet.
    """
    content = {name: getattr(request, name) for name in PromptText.__struct_fields__}
    content["labels"] = tuple(sorted(set(request.labels)))
    return PromptVersion(**content, version=version, created_at=created_at, sha256=sha256(request))


def sha256(request: CreatePromptRequest) -> str:
    """Returns the identity of the content. A change of any part makes a new version."""
    parts = {name: getattr(request, name) for name in _CONTENT}
    return ids.digest(msgspec.json.encode({**parts, "temperature": float(request.temperature)}, order="sorted"))


def required_names(source: str) -> frozenset[str]:
    """Returns the variables that the template needs: those that it reads without a default or a
    test.
    """
    tree = environment.parse(source)
    optional = {
        node.node.name
        for node in tree.find_all((nodes.Filter, nodes.Test))
        if node.name in {"default", "d", "defined", "undefined"} and isinstance(node.node, nodes.Name)
    }
    tracker = jinja2.meta.TrackingCodeGenerator(environment)
    tracker.optimizer = None  # it would compute constants, here, before any meter runs
    tracker.visit(tree)
    read = frozenset(tracker.undeclared_identifiers) - optional - environment.globals.keys()
    return frozenset("self" if name == SELF else name for name in read)


def compile_prompt(template: str, system: str) -> Compiled:
    required = required_names(template) | (required_names(system) if system else frozenset())
    return Compiled(environment.from_string(template), environment.from_string(system) if system else None, required)


def check_inputs(ref: str, inputs: dict[str, Any], inputs_schema: dict[str, Any], required: frozenset[str]) -> None:
    """Checks inputs.

    Raises InvalidError with every input that is missing or does not fit the schema.
    """
    if inputs_schema:
        problems = schema.check_inputs(inputs_schema, inputs)
    else:
        problems = [
            Problem(f"inputs.{name}", "is missing", f"the prompt reads {{{{ {name} }}}}: pass it")
            for name in sorted(required - inputs.keys())
        ]
    if problems:
        places = ", ".join(p.place for p in problems[:8])
        raise InvalidError(
            f"the inputs do not fit prompt {ref}: {places}: {problems[0].message}",
            kind="prompt_inputs",
            problems=tuple(problems),
        )


def render(ref: str, place: str, template: Template, inputs: dict[str, Any]) -> str:
    """Returns the rendered text.

    Raises InvalidError with the template's line. The error never contains an input's value.
    """
    chunks: list[str] = []
    total = 0
    try:
        with metered() as meter:
            for chunk in template.generate({SELF if name == "self" else name: inputs[name] for name in inputs}):
                total += len(chunk)
                if total > OUTPUT_CHARS_MAX:
                    raise BoundError(f"the text is longer than {OUTPUT_CHARS_MAX:,} characters; shorten the inputs")
                if total and len(chunks) % 64 == 0:
                    meter.tick()
                chunks.append(chunk)
    except UndefinedError as error:
        what = str(error.message).replace(SELF, "self").partition("; ")[0]
        fix = "pass it in inputs, or write {{ name | default('') }}"
        raise _failed(ref, place, error, f"{what}; {fix}") from None
    except SecurityError as error:
        raise _failed(ref, place, error, str(error) or "not allowed in a prompt; remove it") from None
    except TemplateError as error:
        raise _failed(ref, place, error, f"{error.message}; correct the template") from None
    except (
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        AttributeError,
        RecursionError,
        AssertionError,
    ) as error:
        what = f"{type(error).__name__} in an expression; check the types of its inputs"
        raise _failed(ref, place, error, what) from None
    return "".join(chunks)


def _failed(ref: str, place: str, error: Exception, text: str) -> InvalidError:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == "<template>"]
    where = f"{place} line {lines[-1]}" if lines else place
    what, fix = _split(text)
    fix = fix or "change the template at this line"
    return InvalidError(
        f"prompt {ref} can't be rendered: {where}: {what}", kind="prompt_render", problems=(Problem(where, what, fix),)
    )
