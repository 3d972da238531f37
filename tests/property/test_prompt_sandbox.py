"""Any template that compiles either renders within its bounds or is refused as invalid: nothing else escapes."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentflow_common.errors import InvalidError
from agentflow_prompt import machine
from agentflow_prompt.sandbox import OUTPUT_CHARS_MAX

atoms = st.sampled_from(["a", "b", "'xy'", "3", "2.5", "[1, 'q']", "{'k': 1}", "range(50)", "none", "missing"])
operators = st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "~", "==", "in", "and"])
filters = st.sampled_from(["upper", "length", "list", "join('-')", "default(1)", "tojson", "sum", "batch(3)"])
attributes = st.sampled_from(["k", "items()", "upper()", "__class__", "split('x')"])
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, operators, inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, filters).map(lambda t: f"({t[0]} | {t[1]})"),
        st.tuples(inner, attributes).map(lambda t: f"{t[0]}.{t[1]}"),
    ),
    max_leaves=8,
)
pieces = st.one_of(
    st.text(max_size=20),
    expressions.map(lambda e: f"{{{{ {e} }}}}"),
    expressions.map(lambda e: f"{{% for i in {e} %}}{{{{ i }}}}{{% endfor %}}"),
    expressions.map(lambda e: f"{{% set b = {e} %}}{{{{ b }}}}"),
)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces, max_size=5).map("".join), values, values)
def test_rendering_is_bounded_and_only_ever_invalid(source: str, a: Any, b: Any) -> None:
    if machine.check_template("template", source) is not None:
        return
    compiled = machine.compile_prompt(source, "")
    try:
        text = machine.render("p@1", "template", compiled.text, {"a": a, "b": b})
    except InvalidError as error:
        assert error.problems[0].fix  # noqa: PT017
        return
    assert len(text) <= OUTPUT_CHARS_MAX
    assert text == machine.render("p@1", "template", compiled.text, {"a": a, "b": b})
