"""Two definitions differ where their authors would say so, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common.definition.diff import ABSENT, Change, FieldChange, diff, lines
from agentflow_common.definition.parse import parse_text

OLD = """\
name: review
version: 1
description: first
inputs:
  text: {type: string}
  limit: {type: integer, default: 3}
outputs: {all: sum.output}
dag:
  nodes:
    - id: read
      type: function
      config: {function_name: text_splitter, inputs: {text: "{{text}}"}}
    - id: sum
      type: llm
      config: {prompt_ref: summarizer@1, inputs: {content: read.output}}
      policy: {quality: Gold}
  edges:
    - {from: read, to: sum}
"""


def canonical(text: str) -> dict[str, Any]:
    return parse_text(text).canonical()


def test_a_definition_does_not_differ_from_itself_in_another_order_or_version() -> None:
    old = canonical(OLD)
    reordered = canonical(OLD.replace("version: 1", "version: 2"))
    reordered["dag"]["nodes"].reverse()
    assert diff(old, reordered) == ()


def test_every_kind_of_change_is_told_with_its_fields() -> None:
    new = (
        OLD.replace("description: first", "description: second")
        .replace("limit: {type: integer, default: 3}", "limit: {type: integer, default: 4}\n  extra: {type: any}")
        .replace("summarizer@1", "summarizer@2")
        .replace("quality: Gold", "retry: {max_attempts: 5}")
        .replace("outputs: {all: sum.output}", "outputs: {all: last.output}")
        .replace(
            "  edges:\n    - {from: read, to: sum}",
            "    - {id: last, type: function, config: {function_name: f, inputs: {a: sum.output}}}\n"
            "  edges:\n    - {from: read, to: sum, condition: 'true'}\n    - {from: sum, to: last}",
        )
    )
    changes = diff(canonical(OLD), canonical(new))
    found = {(change.kind, change.what, change.name): change.fields for change in changes}
    assert found[("workflow", "changed", "review")] == (FieldChange("description", "first", "second"),)
    assert found[("input", "changed", "limit")] == (FieldChange("default", 3, 4),)
    assert ("input", "added", "extra") in found
    assert found[("output", "changed", "all")] == (FieldChange("value", "sum.output", "last.output"),)
    assert sorted(found[("node", "changed", "sum")], key=lambda field: field.path) == [
        FieldChange("config.prompt_ref", "summarizer@1", "summarizer@2"),
        FieldChange("policy.quality", "Gold", ABSENT),
        FieldChange("policy.retry.max_attempts", ABSENT, 5),
    ]
    assert ("node", "added", "last") in found
    assert found[("edge", "changed", "read -> sum")] == (FieldChange("condition", ABSENT, "true"),)
    assert ("edge", "added", "sum -> last") in found
    assert ("node", "changed", "read") not in found


def test_a_diff_backwards_swaps_added_and_removed() -> None:
    old, new = canonical(OLD), canonical(OLD)
    new["dag"]["nodes"] = new["dag"]["nodes"][:1]
    new["dag"]["edges"] = []
    assert [(c.what, c.kind, c.name) for c in diff(old, new)] == [
        ("removed", "node", "sum"),
        ("removed", "edge", "read -> sum"),
    ]
    assert [(c.what, c.kind, c.name) for c in diff(new, old)] == [
        ("added", "node", "sum"),
        ("added", "edge", "read -> sum"),
    ]


def test_lines_show_signs_fields_and_shortened_values() -> None:
    changes = (
        Change("node", "removed", "a"),
        Change("node", "changed", "b", (FieldChange("x", 1, 2), FieldChange("y", ABSENT, "z" * 500))),
        Change("edge", "changed", "a -> b", (FieldChange("condition", "old", ABSENT),)),
    )
    text = lines(changes)
    assert text[:3] == ["- node a", "~ node b", "    x: 1 -> 2"]
    assert text[3].startswith("    + y: zzz")
    assert len(text[3]) < 140
    assert text[5] == "    - condition: old"


VALUES = st.recursive(
    st.integers(0, 3) | st.text("ab", max_size=2) | st.booleans(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("pq"), inner, max_size=2),
    max_leaves=5,
)


@settings(deadline=None)  # the machine may be busy
@given(st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xy"), VALUES), max_size=3), st.data())
def test_no_change_is_missed_and_none_is_made_up(nodes: dict[str, Any], data: Any) -> None:
    def definition(content: dict[str, Any]) -> dict[str, Any]:
        return {"name": "w", "version": 1, "dag": {"nodes": [{"id": k, "config": v} for k, v in content.items()]}}

    other = data.draw(
        st.just(nodes) | st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xy"), VALUES))
    )
    named = {change.name for change in diff(definition(nodes), definition(other))}
    assert named == {k for k in {*nodes, *other} if repr_of(nodes.get(k)) != repr_of(other.get(k))}


def repr_of(value: Any) -> str:
    """Tells 1 from True, and an empty object from none; the order of keys says nothing."""
    return json.dumps(value, sort_keys=True)
