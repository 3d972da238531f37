"""The prompt machine: references, checks with line and fix, rendering."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agentflow_common.errors import InvalidError
from agentflow_common.rpc import CreatePromptRequest
from agentflow_prompt import builtins, machine, schema
from agentflow_prompt.machine import Ref


def render(source: str, **inputs: Any) -> str:
    return machine.render("p@1", "template", machine.compile_prompt(source, "").text, inputs)


def failure(source: str, **inputs: Any) -> str:
    with pytest.raises(InvalidError) as caught:
        render(source, **inputs)
    return str(caught.value.problems[0])


@pytest.mark.parametrize(
    ("text", "ref"),
    [("a", Ref("a")), ("a@3", Ref("a", 3)), ("a@production", Ref("a", label="production")), ("a@latest", Ref("a"))],
)
def test_references_name_a_version_a_label_or_the_latest(text: str, ref: Ref) -> None:
    assert machine.parse_ref(text) == ref


@pytest.mark.parametrize("text", ["", "@1", "a@", "a@0", "a@-1", "a@1@2", "a b", "a@x y", "a@" + "9" * 40, "x" * 65])
def test_malformed_references_are_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        machine.parse_ref(text)


def test_a_bad_prompt_is_refused_with_every_problem_its_line_and_its_fix() -> None:
    request = CreatePromptRequest(
        org="acme", name="no spaces", template="ok\n{% if x %}\nnever closed", task="dance",
        labels=("latest", "1"), temperature=9.0, max_output_tokens=-1, inputs_schema={"type": "objct"},
    )  # fmt: skip
    with pytest.raises(InvalidError) as caught:
        machine.check_new(request)
    places = [problem.place for problem in caught.value.problems]
    assert {"name", "task", "temperature", "max_output_tokens", "labels", "inputs_schema.type"} <= set(places)
    assert "template line 3" in places
    assert all(problem.fix for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("{% include 'x' %}", "include"), ("{% import 'x' as y %}", "import"), ("{% extends 'x' %}", "extends"),
        ("{{ x | nosuch }}", "nosuch"), ("{{ x | attr('y') }}", "attr"),
        ("{% for a in b recursive %}{% endfor %}", "recursive"),
        ("(" * 5 + "{{" + "(" * 3000 + "1" + ")" * 3000 + "}}", "deeply"), ("{{ " + "9" * 5000 + " }}", "too long"),
        ("x" * (machine.TEMPLATE_BYTES_MAX + 1), "bytes"),
    ],
)  # fmt: skip
def test_what_reaches_outside_or_is_too_large_is_refused_at_creation(source: str, word: str) -> None:
    problem = machine.check_template("template", source)
    assert problem is not None
    assert word in str(problem)
    assert problem.fix


@pytest.mark.parametrize(
    "source",
    [
        "{{ 9 ** 9 ** 9 }}", "{{ 2 ** 1000 }}", "{{ 'a' * 999999999 }}", "{{ [0] * 99999999 }}",
        "{{ 'a' | center(999999999) }}",
        "{{ '%999999999d' % 1 }}", "{{ 'x' | indent(99999999, true) }}", "{{ 'x'.ljust(999999999) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ range(100000000) | list }}", "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}",
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x %}{{n.x}}{{n.x}}{% endset %}{% endfor %}",
        "{% set a = 'ab' * 500000 %}{{ a | replace('a', a) }}", "{{ ([ 'x' * 1000 ] * 9000) | join('y' * 9000) }}",
        "{% set a = 'ab' * 300000 %}{% for i in range(9) %}{{ a }}{% endfor %}", "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}", "{{ range.__self__ }}", "{{ namespace }}",
        "{{ self._TemplateReference__context }}",
        "{{ (range(9999)|list) | map('string') | map('upper') | map('lower') | sum(start='') }}",
    ],
)  # fmt: skip
def test_a_hostile_template_meets_a_bound_soon(source: str) -> None:
    began = time.process_time()
    assert failure(source).startswith("template")
    assert time.process_time() - began < 4


def test_errors_name_the_line_and_never_the_value() -> None:
    assert failure("a\nb {{ missing }}").startswith("template line 2: 'missing' is undefined")
    text = failure("a\n\n{{ x + 1 }}", x="a-secret-value")
    assert text.startswith("template line 3: TypeError")
    assert "a-secret-value" not in text


def test_values_read_naturally() -> None:
    loop = "{% for i in items %} {{ loop.index }}/{{ loop.length }}{{ i }}{% endfor %}"
    source = "{{ n }} {{ ok }} {{ items }} {{ d.a }}" + loop
    assert render(source, n=1.5, ok=True, items=["ä", 2], d={"a": "x"}) == '1.5 true ["ä", 2] x 1/2ä 2/22'
    assert (
        render(
            "{{ d.items() | length }}{{ x.upper() }}{{ x[:2] }}{{ xs | join(', ') }}", d={"a": 1}, x="abc", xs=[1, 2]
        )
        == "1ABCab1, 2"
    )


def test_engine_11_keys_named_like_methods_are_data_in_prompts() -> None:
    order = {"items": ["a"], "values": 2, "keys": "k", "get": {"x": True}, "none": None}
    source = (
        "{{ o.items }} {{ o.values }} {{ o['keys'] }} {{ o.get.x }} {% for i in o.items %}{{ i }}{% endfor %} "
        "{{ o.items() | length }} {{ o.values() }} {{ [o] | map(attribute='items') | list }} {{ self }} {{ o.none.x }}"
    )
    told = '["a"] 2 k true a 5 [["a"], 2, "k", {"x": true}, null] [["a"]] me null'
    assert render(source, o=order, self="me") == told
    assert (
        render("{{ [o, none] | join(', ') }} {{ o | upper }}", o={"paid": True})
        == '{"paid": true}, null {"PAID": TRUE}'
    )
    assert render("{% for x in [1, 2] %}{{ loop.index }}{{ loop.cycle('a', 'b') }}{% endfor %}") == "1a2b"
    assert machine.compile_prompt("{{ self }}", "").required == {"self"}


@pytest.mark.parametrize(
    "source",
    [
        "{{ o.items }}",
        "{{ x.upper }}",
        "{{ o.pop('a') }}",
        "{{ x.nope }}",
        "{{ o.__class__ }}",
        "{{ loop }}",
        "{{ range }}",
        "{{ '\\ud83d' ~ [] }}{{ ['\\ud83d'] }}",
    ],
)
def test_engine_11_no_method_shows_in_a_prompt(source: str) -> None:
    text = failure(source, o={}, x="abc")
    assert " at 0x" not in text
    assert "bound method" not in text
    assert "method" not in failure("{{ o.items }}", o={})


def test_a_prompt_without_schema_needs_what_it_reads() -> None:
    compiled = machine.compile_prompt(
        "{{ a }} {{ b | default('x') }} {% if c is defined %}{{ c }}{% endif %}", "{{ s }}"
    )
    assert compiled.required == {"a", "s"}
    with pytest.raises(InvalidError) as caught:
        machine.check_inputs("p@1", {"z": 1}, {}, compiled.required)
    assert [problem.place for problem in caught.value.problems] == ["inputs.a", "inputs.s"]


def test_inputs_are_checked_against_the_schema_without_quoting_them() -> None:
    rules = {
        "type": "object",
        "required": ["a", "b"],
        "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
    }
    with pytest.raises(InvalidError) as caught:
        machine.check_inputs("p@1", {"a": "a-secret-value"}, rules, frozenset())
    assert [problem.place for problem in caught.value.problems] == ["inputs.a", "inputs.b"]
    assert "a-secret-value" not in str(caught.value.problems)


def test_schemas_stay_offline_and_linear() -> None:
    assert "outside" in str(schema.check({"properties": {"a": {"$ref": "http://example.invalid/x"}}})[0])
    (nowhere,) = schema.check({"properties": {"a": {"$ref": "#/$defs/none"}}})
    assert (nowhere.place, nowhere.fix) == ("inputs_schema.properties.a.$ref", "define it under $defs")
    assert schema.check({"properties": {"a": {"$ref": "#x"}}, "$defs": {"x": {"$anchor": "x"}}}) == []
    assert "patterns" in str(schema.check({"properties": {"a": {"pattern": "(a+)+$"}}})[0])
    assert schema.check({"properties": {"pattern": {"type": "string"}}, "$defs": {"x": {}}}) == []


def test_identity_ignores_labels_and_author_alone() -> None:
    one = CreatePromptRequest(org="o", name="n", template="t", labels=("a",), created_by="x")
    two = CreatePromptRequest(org="o", name="n", template="t")
    assert machine.sha256(one) == machine.sha256(two)
    assert machine.sha256(two) != machine.sha256(CreatePromptRequest(org="o", name="n", template="t", task="answer"))


@pytest.mark.parametrize("name", sorted(builtins.names()))
def test_every_built_in_is_sound_and_renders(name: str) -> None:
    request = machine.check_new(builtins.load("acme", name))
    compiled = machine.compile_prompt(request.template, request.system)
    assert request.description
    assert request.task in machine.TASKS
    samples = {"content": {"text": "Zebra text"}, "summaries": ["Zebra text"], "parts": [{"text": "Zebra text"}],
               "target_language": "German", "question": "Why?"}  # fmt: skip
    inputs = {key: samples[key] for key in request.inputs_schema["required"]}
    machine.check_inputs(name, inputs, request.inputs_schema, compiled.required)
    assert "Zebra text" in machine.render(name, "template", compiled.text, inputs)
