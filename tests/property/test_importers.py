"""Imports of damaged definitions of other engines: a definition or a clear error comes out, never another exception."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from agentctl.importers.convert import convert
from agentflow_common.definition.yaml_text import load
from agentflow_common.errors import InvalidError
from tests.support.foreign import FOREIGN

JUNK: list[Any] = [
    None, True, 0, -1, 1.5, 10**30, "", "x", "{{", "${", "{% $x %}", "={{ $json", "$.a[", "((((", "a" * 300, [], [[]],
    [None], {}, {"x": {}}, [{"name": "x"}], "{{=inputs}}", "${a.b[}", "<>&|", "\u0000", "${ . | length }", "=" * 50,
    "1e999", "9" * 500, "9" * 5_000 + "s", "nan", "{{" * 2_000, "P" + "9" * 500 + "D",
]  # fmt: skip


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [place] if place else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*place, key))
    return found


def damaged(source: Any, changes: list[tuple[int, int, bool]]) -> Any:
    """Returns a copy in which parts are replaced by junk, or taken out."""
    data = copy.deepcopy(source)
    for where, what, removed in changes:
        all_places = places(data)
        if not all_places:
            return data
        *outer, last = all_places[where % len(all_places)]
        holder = data
        for part in outer:
            holder = holder[part]
        if removed:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(JUNK[what % len(JUNK)])  # a later change must not reach the list itself
    return data


@pytest.mark.parametrize("engine", sorted(FOREIGN))
@settings(max_examples=120)
@given(changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60), st.booleans()), min_size=1, max_size=4))
def test_a_damaged_definition_gives_a_definition_or_a_clear_error(
    engine: str, changes: list[tuple[int, int, bool]]
) -> None:
    data, _ = load(FOREIGN[engine])
    text = json.dumps(damaged(data, changes))
    try:
        made = convert(text, engine)
    except InvalidError:
        return
    for written in made.definitions:
        assert yaml.safe_load(written.text)["dag"]["nodes"], written.text
        named = any(f"the definition {written.name!r} is not valid yet" in remark.message for remark in made.remarks)
        assert named == (written.name in made.invalid)
    assert all(remark.line >= 1 and remark.message and remark.fix for remark in made.remarks)
